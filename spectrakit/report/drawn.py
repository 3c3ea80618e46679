"""What the pictures need of a run, kept in memory while the run itself goes to disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.tables import SPECTRUM, SPECTRUM_SUMMARY, Manifest, MemorySink, Sink, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
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
        """The pictures by file name; none where no analysis left a spectrum."""
        from spectrakit.report.charts import spectrum_figure
        from spectrakit.report.figures import render_all

        run = self._kept.run
        if SPECTRUM_SUMMARY.name not in run.tables:
            return {}
        drawn = render_all(spectrum_figure(run), "png", "svg")
        return {f"spectrum.{kind}": content for kind, content in drawn.items()}


def _not_in_histogram(spectrum: pa.Table) -> bool:
    """Whether the rows say more than the histogram: exact phases, or continuous time.

    Real decays are most of a large model's rows, and all in the histogram.
    """
    more = pc.or_(pc.not_equal(spectrum["im"], 0), pc.equal(spectrum["domain"], "continuous"))
    return bool(pc.any(more).as_py())
