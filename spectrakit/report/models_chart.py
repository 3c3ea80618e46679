"""How alike the hidden states of two models are: each depth of one against each of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.report.chart_style import figure_style
from spectrakit.report.heat_map import Side, heat_map
from spectrakit.tables.similarity_schema import SIMILARITY

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.report.summaries import Row
    from spectrakit.tables import Run
else:
    alt = lazy_import("altair")

_TITLES = {
    "cka": "linear CKA",
    "cka_minibatch": "linear CKA of groups",
    "cka_rbf": "CKA, Gaussian",
    "mutual_knn": "common nearest neighbours",
}


def models_figure(comparison: Run) -> alt.VConcatChart:
    """A row of heat maps for each other model, from the `similarity` table of a comparison."""
    rows = comparison.table(SIMILARITY.name).to_pylist()
    others = dict.fromkeys(row["other_model"] for row in rows)
    parts = [_of_model(comparison, other, rows) for other in others]
    title = "Similarity of hidden states, at the tokens that end at the same character"
    return alt.vconcat(*parts, spacing=24, **figure_style(title, [f"{len(rows)} pairs of depths"]))


def _of_model(comparison: Run, other: str, rows: list[Row]) -> alt.HConcatChart:
    of = [row for row in rows if row["other_model"] == other]
    own_depths = 1 + max(row["depth"] for row in of)
    other_depths = 1 + max(row["other_depth"] for row in of)
    x = Side(f"depth of {comparison.manifest.model_id}", own_depths)
    y = Side(f"depth of {other}", other_depths)
    charts = []
    for estimator in dict.fromkeys(row["estimator"] for row in of):
        chosen = [row for row in of if row["estimator"] == estimator]
        cells = [
            (row["depth"], row["other_depth"], row["value"])
            for row in chosen
            if row["value"] is not None
        ]
        tokens = chosen[0]["tokens"]
        charts.append(heat_map(cells, f"{_TITLES[estimator]}: {tokens:,} tokens", x, y))
    return alt.hconcat(*charts, spacing=40)
