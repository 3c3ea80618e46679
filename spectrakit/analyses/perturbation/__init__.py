"""What a small change of one token becomes on its way through the model."""

from __future__ import annotations

from spectrakit.analyses.kind import AnalysisKind, Chart
from spectrakit.analyses.perturbation.options import PerturbationOptions
from spectrakit.analyses.perturbation.tables import PERTURBATION
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.perturbation"

KIND = AnalysisKind(
    name="perturbation",
    start=Later(f"{_HERE}.analysis:Perturbation"),
    sees=frozenset({"states", "reruns"}),
    tables=(PERTURBATION,),
    options=(PerturbationOptions,),
    in_all="never",
    view=Later(f"{_HERE}.view:view"),
    charts=(
        Chart(
            name="perturbation",
            table=PERTURBATION.name,
            draw=Later(f"{_HERE}.chart:perturbation_figure"),
            needs=(PERTURBATION.name,),
        ),
    ),
    compared=Later(f"{_HERE}.compared:compared"),
)
