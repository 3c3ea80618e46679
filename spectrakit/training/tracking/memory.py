"""What the layers of a live model remember, from their weights: the analysis `memory`, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.analyses.base import Request
from spectrakit.analyses.memory.analysis import Memory
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.memory.rows import labels, write_reason
from spectrakit.analyses.memory.tables import MEMORY_SUMMARY
from spectrakit.errors import AnalysisError
from spectrakit.tables.manifest import Manifest
from spectrakit.tables.run import MemorySink

if TYPE_CHECKING:
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Recurrence

#: Delays up to 65,536, four to an octave; nothing rounded.
_OPTIONS = MemoryOptions(per_octave=4, precisions=())


def remembered(layer: Layer, recurrence: Recurrence) -> list[dict[str, Any]]:
    """Rows of `memory_summary`: the layer's, and of heads one each; or why there is none."""
    sink = MemorySink(Manifest(model_id="", revision="", mode="weights"))
    try:
        Memory(sink, Request(_OPTIONS)).see(layer, recurrence, None)
    except AnalysisError as error:  # training does not end for what is told of it
        common = labels(layer, recurrence)
        write_reason(sink, common, recurrence.operator.heads, str(error).splitlines()[0])
    rows: list[dict[str, Any]] = sink.run.table(MEMORY_SUMMARY.name).to_pylist()
    return [row for row in rows if row["channel"] is None]
