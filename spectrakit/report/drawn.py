"""What the pictures need of a run, kept in memory while the run itself goes to disk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.errors import AnalysisError
from spectrakit.tables import SPECTRUM, SPECTRUM_SUMMARY, Manifest, MemorySink, Sink, TableSchema
from spectrakit.tables.empirical_memory_schema import EMPIRICAL_MEMORY
from spectrakit.tables.memory_schema import MEMORY_SUMMARY
from spectrakit.tables.probe_schema import PROBE
from spectrakit.tables.propagation_schema import PERTURBATION, PROPAGATION
from spectrakit.tables.similarity_schema import SIMILARITY

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

    from spectrakit.tables.manifest import Recorded
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

    def record(self, found: Recorded) -> None:
        """Put into the manifest what was known only at the end."""
        self._kept.record(found)

    def figures(self) -> dict[str, bytes]:
        """The pictures by file name; none where no analysis left anything to draw."""
        from spectrakit.report.figures import render_all

        run = self._kept.run
        found: dict[str, bytes] = {}
        for name, table, file, function in _PICTURES:
            if table not in run.tables:
                continue
            draw = getattr(import_module(f"spectrakit.report.{file}"), function)
            with suppress(AnalysisError):  # its table has reasons alone
                drawn = render_all(draw(run), "png", "svg")
                found |= {f"{name}.{kind}": content for kind, content in drawn.items()}
        return found


#: Every picture of a run: its file's name, the table it is of, and the file and the function of
#: this room that draw it; what is not drawn is not imported.
_PICTURES = (
    ("spectrum", SPECTRUM_SUMMARY.name, "charts", "spectrum_figure"),
    ("memory", MEMORY_SUMMARY.name, "memory_chart", "memory_figure"),
    (
        "empirical_memory",
        EMPIRICAL_MEMORY.name,
        "empirical_memory_chart",
        "empirical_memory_figure",
    ),
    ("similarity", SIMILARITY.name, "similarity_chart", "similarity_figure"),
    ("propagation", PROPAGATION.name, "propagation_chart", "propagation_figure"),
    ("perturbation", PERTURBATION.name, "perturbation_chart", "perturbation_figure"),
    ("probe", PROBE.name, "probe_chart", "probe_figure"),
)


def _not_in_histogram(spectrum: pa.Table) -> bool:
    """Whether the rows say more than the histogram: exact phases, or continuous time.

    Real decays are most of a large model's rows, and all in the histogram.
    """
    more = pc.or_(pc.not_equal(spectrum["im"], 0), pc.equal(spectrum["domain"], "continuous"))
    return bool(pc.any(more).as_py())
