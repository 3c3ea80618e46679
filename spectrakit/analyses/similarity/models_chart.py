"""How alike the hidden states of two models are: each depth of one against each of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.massive.lines import is_usual
from spectrakit.analyses.similarity.estimators import BY_NAME
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.comparison.chart import run_label
from spectrakit.display.chart_style import figure_style
from spectrakit.display.heat_map import Side, heat_map

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")


def models_figure(runs: Sequence[Run], comparison: Run) -> alt.VConcatChart:
    """A row of heat maps for each run but the first, from the `similarity` table of a comparison.

    runs: those that were compared, in their order.
    """
    rows = [row for row in comparison.table(SIMILARITY.name).to_pylist() if is_usual(row)]
    names = [run_label(run, number) for number, run in enumerate(runs)]
    parts = [
        _of_run([row for row in rows if row["other_run"] == number], names[0], names[number])
        for number in dict.fromkeys(row["other_run"] for row in rows)
    ]
    title = (
        "Similarity of hidden states, at the tokens that end at the same character, without "
        "massive ones"
    )
    return alt.vconcat(*parts, spacing=24, **figure_style(title, [f"{len(rows)} pairs of depths"]))


def _of_run(rows: list[Row], first: str, other: str) -> alt.HConcatChart:
    x = Side(f"depth of {first}", 1 + max(row["depth"] for row in rows))
    y = Side(f"depth of {other}", 1 + max(row["other_depth"] for row in rows))
    charts = []
    for estimator in dict.fromkeys(row["estimator"] for row in rows):
        chosen = [row for row in rows if row["estimator"] == estimator]
        cells = [
            (row["depth"], row["other_depth"], row["value"])
            for row in chosen
            if row["value"] is not None
        ]
        tokens = chosen[0]["tokens"]
        charts.append(heat_map(cells, f"{BY_NAME[estimator].short}: {tokens:,} tokens", x, y))
    return alt.hconcat(*charts, spacing=40)


def compared_figure(runs: Sequence[Run], comparison: Run) -> alt.TopLevelMixin | None:
    """The same, where the models were compared."""
    return models_figure(runs, comparison) if SIMILARITY.name in comparison.tables else None
