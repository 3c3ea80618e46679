"""Eigenvalues in the complex plane, and below it their share by real part."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from spectrakit._lazy import lazy_import
from spectrakit.display.chart_style import ACCENT, BAR, FAINT, data, density, fixed, overlapping

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.analyses.spectrum.windows import Window
    from spectrakit.display.binning import Records
    from spectrakit.tables.distribution import Distribution
else:
    alt = lazy_import("altair")

_WIDTH = 336
_HEIGHT = 452
_GAP = 14

_TITLES = {
    "discrete": "Eigenvalues λ per step, and the unit circle",
    "continuous": "Eigenvalues λ in continuous time, and Re λ = 0",
}


def plane_chart(domain: str, eigenvalues: Distribution, window: Window) -> alt.VConcatChart:
    """The plane over the real axis; together as high as the chart beside them."""
    height = _plane_height(window)
    return alt.vconcat(
        _plane(domain, eigenvalues, window, height),
        _strips(domain, eigenvalues, window, _HEIGHT - _GAP - height),
        spacing=_GAP,
    )


def _plane_height(window: Window) -> int:
    """Pixels; a disc is drawn round, and a band half as high as the plane."""
    return _WIDTH // 2 if window.flat else _WIDTH


def _plane(domain: str, eigenvalues: Distribution, window: Window, height: int) -> alt.LayerChart:
    cells = overlapping(window.cells(eigenvalues), ("x0", "x1"), ("y0", "y1"))
    eigenvalue_density = (
        alt.Chart(data(cells))
        .mark_rect(clip=True)
        .encode(
            x=_real(window, axis=alt.Axis(labels=False, ticks=False, title=None)),
            x2="x1",
            y=alt.Y(
                "y0:Q",
                scale=fixed(-window.top, window.top),
                axis=alt.Axis(title="Im λ", **_ticks(domain, window.top, flat=window.flat)),
            ),
            y2="y1",
            color=density("all", domain=_ends(cells)),
        )
    )
    zero = alt.Chart(data([{"x0": 0, "y0": 0}]))
    thin: dict[str, Any] = {"color": FAINT, "strokeWidth": 0.7}
    axes = [zero.mark_rule(**thin).encode(x="x0:Q"), zero.mark_rule(**thin).encode(y="y0:Q")]
    layers = [*axes, eigenvalue_density, _boundary(domain)]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=height, title=_TITLES[domain])


def _boundary(domain: str) -> alt.Chart:
    """The line between what decays and what grows."""
    turn = np.linspace(0, 2 * math.pi, 181)
    circle = [{"x0": math.cos(a), "y0": math.sin(a), "turn": a} for a in turn.tolist()]
    line = alt.Chart(data(circle)).mark_line(color=ACCENT, strokeWidth=1.2, clip=True)
    boundary: alt.Chart = line.encode(x="x0:Q", y="y0:Q", order="turn:Q")
    if domain == "continuous":
        boundary = alt.Chart(data([{"x0": 0}])).mark_rule(color=ACCENT).encode(x="x0:Q")
    return boundary


def _strips(domain: str, eigenvalues: Distribution, window: Window, height: int) -> alt.LayerChart:
    strips = overlapping(window.strips(eigenvalues), ("x0", "x1"))
    lowest = math.ceil(math.log10(_ends(strips)[0])) - 1
    floor = 10.0**lowest
    powers = [10.0**power for power in range(lowest, 1, math.ceil(-lowest / 5))]
    bars = (
        alt.Chart(data([strip | {"floor": floor} for strip in strips]))
        .mark_rect(color=BAR)
        .encode(
            x=_real(window, axis=alt.Axis(title="Re λ", **_ticks(domain, window.right))),
            x2="x1",
            y=alt.Y(
                "share:Q",
                title="share of all",
                scale=alt.Scale(type="log", domain=[floor, 1]),
                axis=alt.Axis(values=powers, format="~%"),
            ),
            y2="floor",
        )
    )
    edges = [{"x0": edge} for edge in ((0,) if domain == "continuous" else (-1, 1))]
    boundary = alt.Chart(data(edges)).mark_rule(color=ACCENT, strokeWidth=1.2)
    layers = [bars, boundary.encode(x="x0:Q")]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=height)


def _ends(cells: Records) -> tuple[float, float]:
    """The smallest and the largest share, apart from each other; any two where there is none."""
    shares = [cell["share"] for cell in cells] or [1.0]
    return min(*shares, max(shares) / 10), max(shares)


def _ticks(domain: str, limit: float, *, flat: bool = False) -> dict[str, Any]:
    """Where to label an axis that ends at `limit`: around a disc, at halves or at ones inside."""
    if domain == "continuous":
        return {"values": [0]} if flat else {"tickCount": 7}
    step = 0.5 if limit < 2 else 1.0
    steps = math.ceil(limit / step) - 1
    return {"values": [step * index for index in range(-steps, steps + 1)]}


def _real(window: Window, axis: alt.Axis) -> alt.X:
    return alt.X("x0:Q", scale=fixed(window.left, window.right), axis=axis)
