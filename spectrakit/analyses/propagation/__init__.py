"""How representations travel through depth."""

from __future__ import annotations

from spectrakit.analyses.kind import AnalysisKind, Chart, ComparisonChart
from spectrakit.analyses.massive.options import MassiveOptions
from spectrakit.analyses.massive.tables import MASSIVE
from spectrakit.analyses.propagation.options import PropagationOptions
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.propagation"

KIND = AnalysisKind(
    name="propagation",
    start=Later(f"{_HERE}.analysis:Propagation"),
    sees=frozenset({"states"}),
    tables=(
        PROPAGATION,
        MASSIVE,
    ),
    options=(
        PropagationOptions,
        MassiveOptions,
    ),
    holds_states=True,
    view=Later(f"{_HERE}.view:view"),
    charts=(
        Chart(
            name="propagation",
            table=PROPAGATION.name,
            draw=Later(f"{_HERE}.chart:propagation_figure"),
            needs=(PROPAGATION.name, MASSIVE.name),
        ),
    ),
    compared=Later(f"{_HERE}.compared:compared"),
    comparison_charts=(
        ComparisonChart(name="propagation", draw=Later(f"{_HERE}.chart:compared_figure")),
    ),
)
