"""What the released analysis of arXiv 2510.09379 computes."""

from __future__ import annotations

from spectrakit.analyses.kind import AnalysisKind
from spectrakit.analyses.rickenbach2025.tables import RELEASED_BINS
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.rickenbach2025"

KIND = AnalysisKind(
    name="rickenbach2025",
    start=Later(f"{_HERE}.analysis:Rickenbach2025"),
    sees=frozenset({"recurrences"}),
    tables=(RELEASED_BINS,),
    in_all="never",
)
