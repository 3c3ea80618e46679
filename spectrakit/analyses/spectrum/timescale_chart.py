"""Timescales layer by layer: a row per layer, its eigenvalues along a log axis, its median."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spectrakit._lazy import lazy_import
from spectrakit.display.chart_style import ABSENT, ACCENT, TEXT, data, density, fixed, overlapping
from spectrakit.display.time_axis import TimeAxis, time_axis
from spectrakit.tables.summaries import median_rate

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.display.binning import Records
    from spectrakit.tables.distribution import Distribution
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_WIDTH = 440
_HEIGHT = 452
_READABLE_ROW = 11
"""Pixels; a lower row has no room for a word."""

_AXIS_TITLES = {
    "discrete": "timescale -1/log|λ| (steps)",
    "continuous": "timescale -1/Re λ (units of time)",
}

_GROWTH = {"discrete": "|λ|>1", "continuous": "Re λ>0"}

_POWERS = {"discrete": (-2, 7), "continuous": (-5, 4)}
"""Powers of ten that an axis may reach; a shorter time is none, a longer one has no end."""


def timescale_chart(
    domain: str, eigenvalues: Distribution, layers: list[Row], summaries: list[Row]
) -> alt.LayerChart:
    """The rows of `layers` (layer, kind, status), with the medians that `summaries` give."""
    axis = time_axis(eigenvalues, *_POWERS[domain], growth=_GROWTH[domain])
    rows = _Rows(layers)
    drawn = sorted(set(eigenvalues.layer.astype(int).tolist()))
    cells = [cell for layer in drawn for cell in axis.cells(layer, eigenvalues.of_layer(layer))]
    absent = [layer for layer in layers if layer["layer"] not in drawn]
    return alt.LayerChart(
        layer=[
            *_absent(absent, rows, axis),
            _heat(cells, rows, axis, _AXIS_TITLES[domain]),
            *_medians(summaries, rows, axis),
        ],
        width=_WIDTH,
        height=_HEIGHT,
        title="Timescales in each layer, and their median",
    )


class _Rows:
    """Where each layer's row lies: layer 0 on top, a pixel between rows."""

    def __init__(self, layers: list[Row]) -> None:
        numbers = [layer["layer"] for layer in layers]
        self.first, self.last = min(numbers), max(numbers)
        self.pixels = _HEIGHT / (self.last - self.first + 1)
        self._half = 0.5 * (1 - 1 / self.pixels)

    def place(self, record: Row) -> Row:
        """`record` with the top and the bottom of its layer's row."""
        layer = record["layer"]
        return record | {"top": layer - self._half, "bottom": layer + self._half}

    def ticks(self) -> list[int]:
        """At most 25 layers to name."""
        count = self.last - self.first
        step = next(step for step in (1, 2, 4, 8, 16, 32, 64, 128) if count / step <= 24)
        return list(range(self.first, self.last + 1, step))


def _heat(cells: Records, rows: _Rows, axis: TimeAxis, title: str) -> alt.Chart:
    placed = [rows.place(cell) for cell in overlapping(cells, ("x0", "x1"))]
    chart: alt.Chart = (
        alt.Chart(data(placed))
        .mark_rect(clip=True)
        .encode(
            x=alt.X(
                "x0:Q",
                title=title,
                scale=fixed(axis.left, axis.right),
                axis=alt.Axis(
                    values=list(axis.labels),
                    labelExpr=_label_expression(axis),
                    labelFlush=False,
                    labelOverlap=False,
                ),
            ),
            x2="x1",
            y=alt.Y(
                "top:Q",
                title="layer",
                scale=fixed(rows.last + 0.5, rows.first - 0.5),
                axis=alt.Axis(values=rows.ticks(), format="d"),
            ),
            y2="bottom",
            color=density("layer"),
        )
    )
    return chart


def _medians(summaries: list[Row], rows: _Rows, axis: TimeAxis) -> list[alt.Chart]:
    """A tick per layer, with a white edge that shows it on any colour."""
    rates = np.array([median_rate(summary) for summary in summaries], dtype=np.float64)
    with np.errstate(divide="ignore"):
        positions = axis.centres(np.copysign(1 / np.abs(rates), rates))
    ticks = [
        rows.place({"layer": summary["layer"], "x0": position})
        for summary, position in zip(summaries, positions.tolist(), strict=True)
    ]
    chart = alt.Chart(data(ticks)).encode(x="x0:Q", y="top:Q", y2="bottom")
    return [
        chart.mark_rule(color="white", strokeWidth=4, clip=True),
        chart.mark_rule(color=ACCENT, strokeWidth=2, clip=True),
    ]


def _absent(layers: list[Row], rows: _Rows, axis: TimeAxis) -> list[alt.Chart]:
    """Grey rows, with a word where there is room, for layers without eigenvalues."""
    if not layers:
        return []
    place = {"x0": axis.left, "x1": axis.right, "middle": (axis.left + axis.right) / 2}
    chart = alt.Chart(
        data([
            rows.place(place | {"layer": row["layer"], "text": f"{row['kind']}: {row['status']}"})
            for row in layers
        ])
    )  # fmt: skip
    charts = [chart.mark_rect(color=ABSENT).encode(x="x0:Q", x2="x1", y="top:Q", y2="bottom")]
    if rows.pixels >= _READABLE_ROW:
        words = chart.mark_text(color=TEXT, fontSize=9)
        charts.append(words.encode(x="middle:Q", y="layer:Q", text="text:N"))
    return charts


def _label_expression(axis: TimeAxis) -> str:
    """A Vega expression that names the ticks."""
    expression = "''"
    for value, label in axis.labels.items():
        expression = f"abs(datum.value - {value}) < 0.01 ? '{label}' : {expression}"
    return expression
