"""Where a run's tables and pictures go: a folder, or memory alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from spectrakit.tables import Manifest, MemorySink, Run, RunWriter, check_replaceable, read_run
from spectrakit.tables.sinks import Filtered, Tee

if TYPE_CHECKING:
    import pyarrow as pa

    from spectrakit.analyses.kind import Chart
    from spectrakit.tables.manifest import Recorded

#: Renders the charts of a run that has something to draw for them: contents by the files' names.
#: `spectrakit.report.drawing.draw_charts` is one.
Draw: TypeAlias = "Callable[[Run, Sequence[Chart]], Mapping[str, bytes]]"


@dataclass(frozen=True)
class Destination:
    """Where a run goes.

    out: the run folder. root: instead, the folder in which the run's own is called after its model
    and its settings. Without either, the tables stay in memory. overwrite: replace a run that is in
    the folder even where it is of another model or has other settings. draw: renders the pictures
    into the folder. command: the command line, for the record. key: the record's, see `Manifest`.
    """

    out: Path | None = None
    root: Path | None = None
    overwrite: bool = False
    draw: Draw | None = None
    command: str = ""
    key: str = ""


class RunOutput:
    """Use it with `with`: what was written to `sink` is a run when the block ends well.

    to: its folder has been named. charts: that the run may have.

    Raises UsageError where the folder holds a run that may not be replaced, and what `RunWriter`
    does.
    """

    def __init__(self, to: Destination, manifest: Manifest, charts: Sequence[Chart]) -> None:
        out, draw = to.out, to.draw
        if out is not None:
            check_replaceable(out, manifest, overwrite=to.overwrite)
        self._kept = MemorySink(manifest)
        self._writer = None if out is None else RunWriter(out, manifest)
        self._out, self._charts, self._draw = out, charts, draw
        if self._writer is None:
            self.sink = Tee([self._kept])
        else:
            # While the run goes to disk, what its pictures need of it is kept.
            drawn = [Filtered(self._kept, self._is_drawn)] if draw is not None else []
            self.sink = Tee([self._writer, *drawn])

    def _is_drawn(self, name: str, piece: pa.Table) -> bool:
        return name == "layers" or any(
            name in (chart.table, *chart.needs)
            and (chart.keeps is None or chart.keeps(name, piece))
            for chart in self._charts
        )

    def finish(self, found: Recorded) -> None:
        """Put in what was known only at the end, and draw."""
        self._kept.record(found)
        if self._writer is not None:
            self._writer.record(found)
            if self._draw is not None:
                for file, content in self._draw(self._kept.run, self._charts).items():
                    self._writer.add_file(file, content)

    @property
    def run(self) -> Run:
        """The run, once the block has ended."""
        return self._kept.run if self._out is None else read_run(self._out)

    def __enter__(self) -> Self:
        self._writing: AbstractContextManager[object] = self._writer or nullcontext()
        self._writing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writing.__exit__(kind, error, trace)
