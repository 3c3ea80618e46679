"""What the state of a layer still tells of an input so many tokens ago."""

from __future__ import annotations

from spectrakit.analyses.kind import AnalysisKind, Chart
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.memory.tables import MEMORY_FUNCTION, MEMORY_SUMMARY
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.memory"

KIND = AnalysisKind(
    name="memory",
    start=Later(f"{_HERE}.analysis:Memory"),
    sees=frozenset({"recurrences"}),
    tables=(
        MEMORY_FUNCTION,
        MEMORY_SUMMARY,
    ),
    options=(MemoryOptions,),
    view=Later(f"{_HERE}.view:view"),
    charts=(
        Chart(
            name="memory",
            table=MEMORY_SUMMARY.name,
            draw=Later(f"{_HERE}.chart:memory_figure"),
            needs=(MEMORY_FUNCTION.name, MEMORY_SUMMARY.name),
        ),
    ),
    compared=Later(f"{_HERE}.compared:compared"),
)
