"""What an input contributes to an output, by the lag between them."""

from __future__ import annotations

from spectrakit.analyses.kernel.tables import DECAY_KERNEL, DECAY_KERNEL_SUMMARY
from spectrakit.analyses.kind import AnalysisKind
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.kernel"

KIND = AnalysisKind(
    name="kernel",
    start=Later(f"{_HERE}.analysis:DecayKernel"),
    sees=frozenset({"recurrences"}),
    tables=(
        DECAY_KERNEL,
        DECAY_KERNEL_SUMMARY,
    ),
    in_all="data mode",
    in_gauges="usual",
    view=Later(f"{_HERE}.view:view"),
    compared=Later(f"{_HERE}.compared:compared"),
)
