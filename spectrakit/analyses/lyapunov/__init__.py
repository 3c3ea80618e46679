"""Lyapunov exponents of the product of transitions."""

from __future__ import annotations

from spectrakit.analyses.kind import AnalysisKind
from spectrakit.analyses.lyapunov.tables import LYAPUNOV
from spectrakit.analyses.spectrum.options import SpectrumOptions
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.lyapunov"

KIND = AnalysisKind(
    name="lyapunov",
    start=Later(f"{_HERE}.analysis:Lyapunov"),
    sees=frozenset({"recurrences"}),
    tables=(LYAPUNOV,),
    options=(SpectrumOptions,),
    in_gauges="usual",
    view=Later(f"{_HERE}.view:view"),
    compared=Later(f"{_HERE}.compared:compared"),
)
