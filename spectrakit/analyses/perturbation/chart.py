"""How a small change at one token spreads: depth upwards, later tokens to the right.

depth |  each cell: relative gain, on a log scale;
      |  grey where nothing arrives
      +-------------------------------------------> lag
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.perturbation.tables import PERTURBATION
from spectrakit.display.chart_style import ABSENT, data, overlapping, run_style
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_WIDTH, _HEIGHT = 560, 360
_SMALLEST = 1e-4
"""Gains below are drawn as if they were it: with the usual size, they are float32 rounding."""


def perturbation_figure(run: Run) -> alt.LayerChart:
    """The `perturbation` table of a run.

    Raises:
        AnalysisError: no change was measured.
    """
    names = ["depth", "lag", "relative_gain", "size", "sequences", "seq_len"]
    rows = run.table(PERTURBATION.name).select(names).to_pylist()
    rows = [row for row in rows if row["relative_gain"] is not None]
    if not rows:
        raise AnalysisError(f"{run.manifest.model_id} has no gains to draw")
    lags = sorted({row["lag"] for row in rows})
    depths = max(row["depth"] for row in rows)
    cells = overlapping([_cell(row, lags) for row in rows], ("x0", "x1"), ("y0", "y1"))
    highest = max([1.0, *(row["relative_gain"] for row in rows)])
    ground = {"x0": 0, "x1": len(lags), "y0": -0.5, "y1": depths + 0.5}
    ends = _ends(lags, depths)
    colour = alt.Color(
        "gain:Q",
        title=["relative", "gain"],
        scale=alt.Scale(scheme="viridis", type="log", domain=[_SMALLEST, highest], clamp=True),
        legend=alt.Legend(gradientLength=200, gradientThickness=10, tickCount=5, format="~e"),
    )
    return alt.LayerChart(
        layer=[
            alt.Chart(data([ground])).mark_rect(color=ABSENT).encode(**ends),
            alt.Chart(data([cell for cell in cells if cell["gain"] > 0]))
            .mark_rect(clip=True)
            .encode(**ends, color=colour),
        ],
        width=_WIDTH,
        height=_HEIGHT,
        **run_style(run, _subtitle(rows)),
    )


def _cell(row: Row, lags: list[int]) -> Row:
    x = lags.index(row["lag"])
    return {
        "x0": x,
        "x1": x + 1,
        "y0": row["depth"] - 0.5,
        "y1": row["depth"] + 0.5,
        "gain": row["relative_gain"],
    }


def _ends(lags: list[int], depths: int) -> dict[str, alt.X | alt.Y | str]:
    """A column for every lag, named in its middle; a row for every depth."""
    named = {index + 0.5: lag for index, lag in enumerate(lags)}
    expression = "''"
    for place, lag in named.items():
        expression = f"datum.value == {place} ? '{lag}' : {expression}"
    step = 1 + depths // 13
    return {
        "x": alt.X(
            "x0:Q",
            title="tokens later",
            scale=alt.Scale(domain=[0, len(lags)], nice=False),
            axis=alt.Axis(values=list(named), labelExpr=expression, ticks=False),
        ),
        "x2": "x1",
        "y": alt.Y(
            "y0:Q",
            title="depth",
            scale=alt.Scale(domain=[-0.5, depths + 0.5], nice=False),
            axis=alt.Axis(values=list(range(0, depths + 1, step)), format="d"),
        ),
        "y2": "y1",
    }


def _subtitle(rows: list[Row]) -> list[str]:
    first = rows[0]
    sequences = max(row["sequences"] for row in rows)
    return [
        "how a small change of one token's state grows through depth and reaches later tokens",
        f"each change over the state's norm, at first {first['size']:g} of it before block 0",
        f"in the middle of {sequences:,} sequences of up to {first['seq_len']:,} tokens",
    ]
