"""A square of numbers between 0 and 1: one depth against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.display.chart_style import ABSENT, data, fixed, overlapping

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.display.binning import Records
else:
    alt = lazy_import("altair")

SIDE = 340
"""Of a heat map, in pixels."""

_NUMBERED = 13
"""Depths up to which a cell has room for its number."""

#: Along x, along y, and the value there.
Cell: TypeAlias = tuple[int, int, float]


@dataclass(frozen=True)
class Side:
    """What lies along one side, and how many depths there are of it."""

    title: str
    depths: int


def heat_map(cells: Sequence[Cell], title: str, x: Side, y: Side) -> alt.LayerChart:
    """Values in their places; grey where there is none."""
    records: Records = [
        {"x0": at - 0.5, "x1": at + 0.5, "y0": of - 0.5, "y1": of + 0.5, "x": at, "y": of,
         "value": round(value, 4)}
        for at, of, value in cells
    ]  # fmt: skip
    whole = {"x0": -0.5, "x1": x.depths - 0.5, "y0": -0.5, "y1": y.depths - 0.5}
    sides: dict[str, Any] = {
        "x": alt.X("x0:Q", title=x.title, scale=fixed(-0.5, x.depths - 0.5), axis=_axis(x)),
        "x2": "x1",
        "y": alt.Y("y0:Q", title=y.title, scale=fixed(-0.5, y.depths - 0.5), axis=_axis(y)),
        "y2": "y1",
    }
    chart = alt.Chart(data(overlapping(records, ("x0", "x1"), ("y0", "y1"))))
    layers = [
        alt.Chart(data([whole])).mark_rect(color=ABSENT).encode(**sides),
        chart.mark_rect(clip=True).encode(**sides, color=_colour()),
    ]
    if max(x.depths, y.depths) <= _NUMBERED:
        layers.append(_numbers(records))
    return alt.LayerChart(layer=layers, width=SIDE, height=SIDE, title=title)


def _axis(side: Side) -> alt.Axis:
    return alt.Axis(values=ticks(side.depths), format="d")


def _numbers(cells: Records) -> alt.Chart:
    """The values in their cells, white on dark."""
    chart: alt.Chart = (
        alt.Chart(data(cells))
        .mark_text(fontSize=9)
        .encode(
            x="x:Q",
            y="y:Q",
            text=alt.Text("value:Q", format=".2f"),
            color=alt.condition("datum.value > 0.55", alt.value("white"), alt.value("black")),
        )
    )
    return chart


def _colour() -> alt.Color:
    """One scale in every picture, so that pictures compare."""
    return alt.Color(
        "value:Q",
        title=["CKA, or share", "in common"],
        scale=alt.Scale(scheme="yellowgreenblue", domain=[0, 1], clamp=True),
        legend=alt.Legend(orient="right", gradientLength=160, gradientThickness=10, tickCount=5),
    )


def ticks(depths: int) -> list[int]:
    """At most 13 depths to name."""
    step = next(step for step in (1, 2, 4, 8, 16, 32, 64, 128) if depths / step <= 13)
    return list(range(0, depths, step))
