"""What the model itself remembers of a signal that it is driven with."""

from __future__ import annotations

from spectrakit.analyses.empirical_memory.options import EmpiricalMemoryOptions
from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY
from spectrakit.analyses.kind import AnalysisKind, Chart
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.empirical_memory"

KIND = AnalysisKind(
    name="empirical_memory",
    start=Later(f"{_HERE}.analysis:EmpiricalMemory"),
    sees=frozenset({"recurrences", "reruns"}),
    tables=(EMPIRICAL_MEMORY,),
    options=(EmpiricalMemoryOptions,),
    in_all="never",
    view=Later(f"{_HERE}.view:view"),
    charts=(
        Chart(
            name="empirical_memory",
            table=EMPIRICAL_MEMORY.name,
            draw=Later(f"{_HERE}.chart:empirical_memory_figure"),
            needs=(EMPIRICAL_MEMORY.name,),
        ),
    ),
    compared=Later(f"{_HERE}.compared:compared"),
)
