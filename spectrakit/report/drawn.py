"""What the pictures need of a run, kept in memory while the run itself goes to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.tables import SPECTRUM, SPECTRUM_SUMMARY, Manifest, MemorySink, Sink, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

    from spectrakit.tables import Run
else:
    pc = lazy_import("pyarrow.compute")


@dataclass(frozen=True)
class Tee:
    """A `Sink` that hands everything to several."""

    sinks: Sequence[Sink]

    def append(self, schema: TableSchema, table: pa.Table) -> None:
        """See `Sink.append`."""
        for sink in self.sinks:
            sink.append(schema, table)


class Drawn:
    """A `Sink` that keeps what is drawn."""

    def __init__(self, manifest: Manifest) -> None:
        self._kept = MemorySink(manifest)

    def append(self, schema: TableSchema, table: pa.Table) -> None:
        """See `Sink.append`."""
        if schema != SPECTRUM or _not_in_histogram(table):
            self._kept.append(schema, table)

    def figures(self) -> dict[str, bytes]:
        """The pictures by file name; none where no analysis left a table that is drawn."""
        from spectrakit.report.figures import render_all

        run = self._kept.run
        found: dict[str, bytes] = {}
        for name, table, draw in _pictures():
            if table in run.tables:
                drawn = render_all(draw(run), "png", "svg")
                found |= {f"{name}.{kind}": content for kind, content in drawn.items()}
        return found


def _pictures() -> list[tuple[str, str, Callable[[Run], Any]]]:
    """Every picture of a run: its file's name, the table it is of, and what draws it."""
    from spectrakit.report.charts import spectrum_figure

    return [("spectrum", SPECTRUM_SUMMARY.name, spectrum_figure)]


def _not_in_histogram(spectrum: pa.Table) -> bool:
    """Whether the rows say more than the histogram: exact phases, or continuous time.

    Real decays are most of a large model's rows, and all in the histogram.
    """
    more = pc.or_(pc.not_equal(spectrum["im"], 0), pc.equal(spectrum["domain"], "continuous"))
    return bool(pc.any(more).as_py())
