"""A training run's folder, read back: its tables, its picture, while it goes on and afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.errors import MalformedError, UsageError
from spectrakit.tables.training_schemas import TRAINING, TRAINING_SPECTRUM, TRAINING_TIMESCALES
from spectrakit.training.folder import TrainingFolder
from spectrakit.training.tracking.memory_table import TRAINING_MEMORY
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    import altair as alt
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = lazy_import("pyarrow")
    pq = lazy_import("pyarrow.parquet")

_SCHEMAS = {
    schema.name: schema
    for schema in (TRAINING, TRAINING_SPECTRUM, TRAINING_TIMESCALES, TRAINING_MEMORY)
}


@dataclass(frozen=True)
class TrainingTables:
    """The tables in the folder of a training run, or of a tracker, as they are on the disk now."""

    folder: Path

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """What `training.json` says; None for the folder of a tracker alone."""
        return TrainingFolder(self.folder).read()

    def table(self, name: str) -> pa.Table:
        """One table; without rows where nothing was written yet.

        Raises UsageError for an unknown name, MalformedError where the file cannot be read.
        """
        if name not in _SCHEMAS:
            message = f"a training run has no table {name!r}; one of: {', '.join(_SCHEMAS)}"
            raise UsageError(message, hint=did_you_mean(name, _SCHEMAS))
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            return _SCHEMAS[name].arrow.empty_table()
        try:
            return pq.read_table(path, partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise MalformedError(f"{path} cannot be read: {error}".splitlines()[0]) from error

    def chart(self) -> alt.VConcatChart:
        """The picture of training. Raises AnalysisError where there is nothing to draw."""
        from spectrakit.training.tracking.chart import training_chart

        return training_chart(
            self.table(TRAINING.name),
            self.table(TRAINING_TIMESCALES.name),
            self.table(TRAINING_SPECTRUM.name),
            self.folder.absolute().name,
        )


def read_training(folder: Path | str) -> TrainingTables:
    """The tables of a training run. Raises UsageError where the folder has none."""
    path = Path(folder)
    tables = TrainingTables(path)
    if tables.record is None and not any((path / f"{name}.parquet").exists() for name in _SCHEMAS):
        message = f"{path} is not the folder of a training run"
        raise UsageError(message, hint="spectrakit train RECIPE --out FOLDER makes one")
    return tables
