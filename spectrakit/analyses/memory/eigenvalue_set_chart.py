"""Sets of eigenvalues side by side: how large they are, and what they remember.

+--------------------------+--------------------------+
| |lambda| by rank         | MF by delay, log axes    |
+--------------------------+--------------------------+

What the first figure of arXiv 2510.00563 compares. Colour is the set, the dash its step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.memory.chart import Axes, layer_curves
from spectrakit.display.chart_style import data, figure_style
from spectrakit.tables import LAYERS, SPECTRUM

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_WIDTH, _HEIGHT = 400, 360


def eigenvalue_set_figure(run: Run) -> alt.HConcatChart:
    """The spectra and memory functions of a run of `spectrakit.eigenvalue_memory`."""
    names = {row["layer"]: row["path"] for row in run.table(LAYERS.name).to_pylist()}
    curves = [row for row in layer_curves(run) if row["precision"] == "exact"]
    axes = Axes(curves)
    called = list(names.values())
    left = _moduli(run, names, _colours(called, named=False))
    right = _memory(curves, names, axes, _colours(called, named=True))
    subtitle = [
        run.manifest.model_id,
        f"memory over {'an infinite past' if curves[0]['past'] == 'infinite' else 'a finite past'}",
    ]
    title = "Eigenvalues, and the memory they make"
    style = figure_style(title, subtitle)
    apart = alt.ScaleResolveMap(color="independent", strokeDash="independent")
    return alt.hconcat(left, right, spacing=36, **style | {"resolve": alt.Resolve(scale=apart)})


def _colours(names: list[str], *, named: bool) -> dict[str, alt.Color | alt.StrokeDash]:
    """A colour for each set, a dash for each of its steps; `named` where they have a legend."""
    sets = list(dict.fromkeys(name.partition(",")[0] for name in names))
    steps = list(dict.fromkeys(name.partition(", ")[2] or "no step" for name in names))
    legend = alt.Legend(symbolSize=900, symbolStrokeWidth=2) if named else None
    dashes = [[1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [12, 4], [4, 2]]
    return {
        "color": alt.Color(
            "set:N",
            title="eigenvalues",
            scale=alt.Scale(domain=sets, scheme="category10"),
            legend=legend,
        ),
        "strokeDash": alt.StrokeDash(
            "step:N",
            title="step",
            scale=alt.Scale(domain=steps, range=dashes[: len(steps)]),
            legend=legend,
        ),
    }


def _named(name: str) -> Row:
    return {"set": name.partition(",")[0], "step": name.partition(", ")[2] or "no step"}


def _moduli(
    run: Run, names: dict[int, str], colours: dict[str, alt.Color | alt.StrokeDash]
) -> alt.Chart:
    by_layer: dict[int, list[float]] = {}
    for row in run.table(SPECTRUM.name).select(["layer", "modulus", "multiplicity"]).to_pylist():
        by_layer.setdefault(row["layer"], []).extend([row["modulus"]] * row["multiplicity"])
    records = [
        {"x": index, "modulus": round(modulus, 6), **_named(names[layer])}
        for layer, moduli in by_layer.items()
        for index, modulus in enumerate(sorted(moduli, reverse=True))
    ]
    chart: alt.Chart = (
        alt.Chart(data(records))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X(
                "x:Q",
                title="index, the largest first",
                axis=alt.Axis(format="d"),
                scale=alt.Scale(nice=False),
            ),
            y=alt.Y("modulus:Q", title="|λ|", scale=alt.Scale(domain=[0, 1], nice=False)),
            **colours,
        )
    )
    return chart.properties(width=_WIDTH, height=_HEIGHT, title="Eigenvalues")


def _memory(
    curves: list[Row],
    names: dict[int, str],
    axes: Axes,
    colours: dict[str, alt.Color | alt.StrokeDash],
) -> alt.Chart:
    records = [
        {"x": point["x"], "memory": point["memory"], **_named(names[point["series"]])}
        for point in axes.records(curves, "layer")
    ]
    chart: alt.Chart = (
        alt.Chart(data(records))
        .mark_line(strokeWidth=1.5, clip=True)
        .encode(x=axes.x, y=axes.y, **colours)
    )
    return chart.properties(width=_WIDTH, height=_HEIGHT, title="Memory function")
