"""How alike hidden states are at any two depths."""

from __future__ import annotations

from spectrakit.analyses.kind import AnalysisKind, Chart, ComparisonChart
from spectrakit.analyses.massive.options import MassiveOptions
from spectrakit.analyses.massive.tables import MASSIVE
from spectrakit.analyses.similarity.options import SimilarityOptions
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.similarity"

KIND = AnalysisKind(
    name="similarity",
    start=Later(f"{_HERE}.analysis:Similarity"),
    sees=frozenset({"states"}),
    tables=(
        SIMILARITY,
        MASSIVE,
    ),
    options=(
        SimilarityOptions,
        MassiveOptions,
    ),
    holds_states=True,
    view=Later(f"{_HERE}.view:view"),
    charts=(
        Chart(
            name="similarity",
            table=SIMILARITY.name,
            draw=Later(f"{_HERE}.chart:similarity_figure"),
            needs=(SIMILARITY.name, MASSIVE.name),
        ),
    ),
    compared=Later(f"{_HERE}.compared:compared"),
    comparison_charts=(
        ComparisonChart(name="similarity", draw=Later(f"{_HERE}.models_chart:compared_figure")),
    ),
)
