"""The picture of training: timescales of every layer over the steps, the loss beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spectrakit._lazy import lazy_import
from spectrakit.display.chart_style import ACCENT, BAR, data, density, figure_style, overlapping
from spectrakit.display.numbers import humanise
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    import altair as alt
    import pyarrow as pa

    from spectrakit.display.binning import Records
else:
    alt = lazy_import("altair")

_WIDTH, _HEIGHT = 420, 130
#: Most snapshots, and points of a curve, that a picture of this width tells apart.
_MOST = 140
#: The least loss of an axis of powers.
_LEAST = 1e-4


def training_chart(
    training: pa.Table, timescales: pa.Table, spectrum: pa.Table, title: str
) -> alt.VConcatChart:
    """A panel for the loss, one for the metric, and one for each layer.

    Layers that have a spectrum on tokens alone are drawn by its quantiles. Raises AnalysisError
    where there is nothing to draw.
    """
    if training.num_rows == 0:
        raise AnalysisError("no step of training has been recorded")
    last = max(row for row in training["step"].to_pylist())
    panels = [_curve(training, "loss", "loss (nats)", last), _metric(training, last)]
    layers = sorted(set(timescales["layer"].to_pylist()))
    panels += [_layer(timescales, layer, last) for layer in layers]
    if timescales.num_rows == 0:
        panels += _quantiles(spectrum, last)
    shown = [panel for panel in panels if panel is not None]
    notes = ["density of timescales -1/log|λ| over the steps; the line is the median"]
    return alt.VConcatChart(vconcat=shown, **figure_style(title, notes))


def _steps(last: int, *, labels: bool = True) -> alt.X:
    axis = alt.Axis(format=",d", tickCount=6, labels=labels)
    title = "step" if labels else None
    return alt.X("step:Q", title=title, scale=alt.Scale(domain=[0, last], nice=False), axis=axis)


def _curve(training: pa.Table, column: str, title: str, last: int) -> alt.LayerChart:
    """Losses of training batches, averaged over neighbours, and of validation."""
    rows = training.select(["step", "split", column]).to_pylist()
    smooth = _thinned([row for row in rows if row["split"] == "train"], column)
    checked = [row for row in rows if row["split"] == "validation"]
    for row in (*smooth, *checked):
        row[column] = max(row[column], _LEAST)
    y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(type="log"))
    lines = alt.Chart(data(smooth)).mark_line(color=BAR, strokeWidth=1.2)
    points = alt.Chart(data(checked)).mark_line(color=ACCENT, strokeWidth=1.5)
    encoded = [each.encode(x=_steps(last), y=y) for each in (lines, points)]
    what = "training batches (blue) and validation (orange)"
    return alt.LayerChart(layer=encoded, width=_WIDTH, height=_HEIGHT, title=f"{column}: {what}")


def _metric(training: pa.Table, last: int) -> alt.Chart | None:
    rows = [
        row for row in training.select(["step", "split", "metric"]).to_pylist()
        if row["split"] == "validation" and row["metric"] is not None
    ]  # fmt: skip
    if not rows:
        return None
    y = alt.Y("metric:Q", title="validation", scale=alt.Scale(zero=False))
    chart: alt.Chart = (
        alt.Chart(data(rows), width=_WIDTH, height=_HEIGHT // 2, title="metric of the task")
        .mark_line(color=ACCENT, strokeWidth=1.5)
        .encode(x=_steps(last), y=y)
    )
    return chart


def _layer(timescales: pa.Table, layer: int, last: int) -> alt.LayerChart:
    """Shares of a layer's eigenvalues by timescale and step."""
    rows = [row for row in timescales.to_pylist() if row["layer"] == layer]
    steps = _every(sorted({row["step"] for row in rows}))
    ends = dict(zip(steps, [*steps[1:], max(last, steps[-1] + 1)], strict=True))
    cells: Records = []
    medians: Records = []
    for step in steps:
        own = [row for row in rows if row["step"] == step]
        total = sum(row["count"] for row in own)
        reached, median = 0, None
        for row in own:
            low, high = _place(row["timescale_low"], row["timescale_high"])
            cells.append({"x0": step, "x1": ends[step], "y0": low, "y1": high,
                          "share": row["count"] / total})  # fmt: skip
            reached += row["count"]
            if median is None and reached >= total / 2:
                median = (low + high) / 2
        medians.append({"step": step, "median": median})
    y = alt.Y("y0:Q", title="timescale (steps)", axis=_powers(cells), scale=alt.Scale(zero=False))
    x = alt.X("x0:Q", title="step", scale=alt.Scale(domain=[0, last], nice=False),
              axis=alt.Axis(format=",d", tickCount=6))  # fmt: skip
    rectangles = (
        alt.Chart(data(overlapping(cells, ("x0", "x1"), ("y0", "y1"))))
        .mark_rect(clip=True)
        .encode(x=x, x2="x1", y=y, y2="y1", color=density("eigenvalues"))
    )
    line = alt.Chart(data(medians)).mark_line(color=ACCENT, strokeWidth=1.5)
    line = line.encode(x="step:Q", y="median:Q")
    mode = rows[0]["mode"]
    return alt.LayerChart(
        layer=[rectangles, line], width=_WIDTH, height=_HEIGHT, title=f"layer {layer} ({mode})"
    )


def _quantiles(spectrum: pa.Table, last: int) -> list[alt.LayerChart]:
    """Of spectra on tokens: the quantiles of timescales of each layer, in its usual gauge."""
    rows = [row for row in spectrum.to_pylist() if row["head"] is None and row["gauge"] != "dsf"]
    panels = []
    for layer in sorted({row["layer"] for row in rows}):
        own: Records = [
            {
                "step": row["step"],
                **{
                    name: float(np.log10(max(row[f"timescale_{name}"], 1e-2)))
                    for name in ("q25", "q50", "q75")
                    if np.isfinite(row[f"timescale_{name}"])
                },
            }
            for row in rows
            if row["layer"] == layer
        ]
        y = alt.Y("q25:Q", title="timescale (steps)", axis=_powers_of(-2, 6))
        band = alt.Chart(data(own)).mark_area(color=BAR, opacity=0.3)
        band = band.encode(x=_steps(last), y=y, y2="q75")
        line = alt.Chart(data(own)).mark_line(color=ACCENT).encode(x="step:Q", y="q50:Q")
        title = f"layer {layer} (on tokens: median and quartiles)"
        panels.append(alt.LayerChart(layer=[band, line], width=_WIDTH, height=_HEIGHT, title=title))
    return panels


def _place(low: float, high: float) -> tuple[float, float]:
    """log10 of a bin's ends; the outermost bins are as wide as the others."""
    if low == 0:
        return float(np.log10(high)) - 0.1, float(np.log10(high))
    if np.isinf(high):
        return float(np.log10(low)), float(np.log10(low)) + 0.1
    return float(np.log10(low)), float(np.log10(high))


def _powers(cells: Records) -> alt.Axis:
    return _powers_of(min(cell["y0"] for cell in cells), max(cell["y1"] for cell in cells))


def _powers_of(low: float, high: float) -> alt.Axis:
    values = list(range(int(np.ceil(low)), int(np.floor(high)) + 1))
    names = {value: humanise(10.0**value) for value in values}
    told = " : ".join(f"datum.value == {value} ? '{name}'" for value, name in names.items())
    return alt.Axis(values=values, labelExpr=f"{told} : ''" if told else "''")


def _every(steps: list[int]) -> list[int]:
    return steps[:: -(-len(steps) // _MOST)]


def _thinned(rows: list[dict[str, Any]], column: str) -> Records:
    """Means of neighbouring steps, as many as there is room for."""
    size = max(1, -(-len(rows) // (2 * _MOST)))
    groups = [rows[first : first + size] for first in range(0, len(rows), size)]
    return [
        {
            "step": float(np.mean([row["step"] for row in group])),
            column: float(np.mean([row[column] for row in group])),
        }
        for group in groups
    ]
