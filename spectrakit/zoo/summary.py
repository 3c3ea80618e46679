"""What a batch comes to: `D/summary/`, written when it ends.

    models.parquet        what became of each model
    leaderboard.parquet   how those that were analysed stand to each other
    leaderboard.png, .svg
    run.json              as every run has it

It is a run like others: `spectrakit.tables.read_run` opens it. Where nothing has changed since it
was written, no file is touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit._version import __version__
from spectrakit.analyses.kind import Chart
from spectrakit.errors import SpectrakitError
from spectrakit.registry import Later
from spectrakit.tables import (
    SPECTRUM_HISTOGRAM,
    SPECTRUM_SUMMARY,
    Manifest,
    MemorySink,
    Run,
    RunWriter,
    read_run,
)
from spectrakit.tables.folders import is_left, tidy
from spectrakit.tables.sinks import Tee
from spectrakit.zoo.leaderboard import leaderboard
from spectrakit.zoo.results import Results
from spectrakit.zoo.schemas import BOARDS, LEADERBOARD, MODELS

if TYPE_CHECKING:
    import pyarrow as pa

    from spectrakit.output import Draw
    from spectrakit.progress import Progress

SUMMARY = "summary"
"""The folder in a batch's folder that the summary is in."""

_ROWS = 1 << 10
"""Rows of `models` that are looked at at once."""

CHART = Chart(
    name="leaderboard",
    table=LEADERBOARD.name,
    draw=Later("spectrakit.zoo.leaderboard_chart:leaderboard_figure"),
)


def write_summary(
    folder: Path,
    models: pa.Table | None = None,
    draw: Draw | None = None,
    progress: Progress | None = None,
) -> Run:
    """Write what the finished runs in `folder` come to, and return it as it is on the disk.

    models: rows of `MODELS`, as `MODELS.table` makes them; None where there are none. draw: renders
    the picture; `spectrakit.report.drawing.draw_charts` does.

    Raises:
        OutputError: it cannot be written, or a file is in the way that no run wrote.
        AnalysisError: `models` does not fit its schema.
    """
    where, drawn = folder / SUMMARY, draw is not None
    before = current_summary(folder, models, drawn=drawn)
    if before is not None:
        return before
    results = Results(folder)
    manifest = _manifest(results, models, drawn=drawn)
    kept = MemorySink(manifest)
    with RunWriter(where, manifest) as writer:
        both = Tee([writer, kept])
        if models is not None:
            both.append(MODELS, models)
        both.append(LEADERBOARD, leaderboard(results, progress))
        for name, content in (draw(kept.run, [CHART]) if draw is not None else {}).items():
            writer.add_file(name, content)
    return read_run(where)


def current_summary(folder: Path, models: pa.Table | None, *, drawn: bool) -> Run | None:
    """The summary that is there, where nothing has changed since; None otherwise.

    models, drawn: see `write_summary`.
    """
    where = folder / SUMMARY
    before = _written(where)
    if before is None:
        return None
    if before.manifest.spec != _manifest(Results(folder), models, drawn=drawn).spec:
        return None
    if is_left(where):
        tidy(where)
    return before


def _manifest(results: Results, models: pa.Table | None, *, drawn: bool) -> Manifest:
    return Manifest(
        model_id="a batch of models",
        revision="",
        mode="",
        spec={"of": _digest(results, models), "drawn": drawn},
    )


def _digest(results: Results, models: pa.Table | None) -> str:
    """Of all that the summary is made of; two that are equal have the same rows."""
    digest = hashlib.sha256()
    for part in _parts(results, models):
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()


def _parts(results: Results, models: pa.Table | None) -> Iterator[Any]:
    yield [__version__, BOARDS, models is not None]
    yield [[table.name, [c.name for c in table.all_columns]] for table in (LEADERBOARD, MODELS)]
    for batch in [] if models is None else models.to_batches(_ROWS):
        yield batch.to_pylist()
    for name, _, manifest in results.runs():
        read = (manifest.tables.get(table.name) for table in (SPECTRUM_SUMMARY, SPECTRUM_HISTOGRAM))
        yield [name, manifest.model_id, *(each and each.sha256 for each in read)]


def _written(where: Path) -> Run | None:
    """The summary that is there; None where there is none that is whole."""
    try:
        return read_run(where)
    except SpectrakitError:
        return None
