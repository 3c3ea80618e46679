"""The picture of a comparison: distances and timescales by depth.

+----------------------------+----------------------------+
| distance of decay rates    | timescales by depth:       |
| from the first run, by     | median and quartiles of    |
| depth                      | every run                  |
+----------------------------+----------------------------+
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.display.chart_style import data, figure_style
from spectrakit.tables import SPECTRUM_SUMMARY
from spectrakit.tables.comparison_schemas import DECAY_DISTANCE
from spectrakit.tables.summaries import layer_summaries

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.display.binning import Records
    from spectrakit.tables import Run
else:
    alt = lazy_import("altair")

_WIDTH, _HEIGHT = 320, 240
#: Steps as people write them: 0.3, 20, 5k.
_STEPS = "datum.value < 1 ? format(datum.value, '~g') : format(datum.value, '~s')"
#: Distinguishable without colour vision; the first is the reference.
_COLOURS = ("#444444", "#d95f02", "#31688e", "#35b779", "#7b3294", "#b8860b")


def comparison_figure(runs: Sequence[Run], comparison: Run) -> alt.HConcatChart:
    """Distances of the others from the first of `runs`, and the timescales of all of them."""
    names = [run_label(run, number) for number, run in enumerate(runs)]
    colour = alt.Color(
        "run:N",
        title=None,
        scale=alt.Scale(domain=names, range=[*_COLOURS] * (1 + len(runs) // len(_COLOURS))),
        legend=alt.Legend(orient="bottom", columns=1, labelLimit=400, symbolType="stroke"),
    )
    charts = (_distances(comparison, names, colour), _timescales(runs, names, colour))
    subtitle = [f"compared with {names[0]}"]
    style = figure_style("Spectra by depth", subtitle)
    style["resolve"] = alt.Resolve(scale=alt.ScaleResolveMap(color="shared"))
    return alt.hconcat(*charts, spacing=40, **style)


def run_label(run: Run, number: int) -> str:
    """Unique, also where a model is compared with itself."""
    randomised = run.manifest.settings().get("randomize")
    suffix = f", {randomised} random" if randomised else ""
    return f"{number + 1}. {run.manifest.model_id}{suffix}"


def _depth_axis() -> alt.X:
    return alt.X(
        "depth:Q",
        title="relative depth",
        scale=alt.Scale(domain=[0, 1], nice=False, padding=8),
        axis=alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2~f"),
    )


def _distances(comparison: Run, names: Sequence[str], colour: alt.Color) -> Any:  # noqa: ANN401
    records: Records = [
        {
            "run": names[row["other_run"]],
            "depth": row["depth"],
            "distance": row["wasserstein_decades"],
            "low": max(0, row["wasserstein_decades"] - (row["uncertainty_decades"] or 0)),
            "high": row["wasserstein_decades"] + (row["uncertainty_decades"] or 0),
        }
        for row in comparison.table(DECAY_DISTANCE.name).to_pylist()
        if row["domain"] == "discrete" and row["wasserstein_decades"] is not None
    ]
    y = alt.Y("distance:Q", title="Wasserstein distance of decay rates (decades)",
              scale=alt.Scale(zero=True))  # fmt: skip
    base = alt.Chart(data(records)).encode(x=_depth_axis(), color=colour)
    line = base.mark_line(point={"filled": True, "size": 45}, strokeWidth=1.5).encode(y=y)
    band = base.mark_rule(strokeWidth=1).encode(y="low:Q", y2="high:Q")
    return alt.layer(band, line).properties(
        width=_WIDTH, height=_HEIGHT, title="distance from the first"
    )


def _timescales(runs: Sequence[Run], names: Sequence[str], colour: alt.Color) -> Any:  # noqa: ANN401
    medians: Records = []
    quartiles: Records = []
    gauges: set[str] = set()
    for name, run in zip(names, runs, strict=True):
        rows = layer_summaries(run, "discrete", _gauges_of_all(runs))
        gauges |= {row["gauge"] for row in rows}
        summaries = sorted(rows, key=lambda row: row["layer"])
        last = max(len(summaries) - 1, 1)
        for place, row in enumerate(summaries):
            low, middle, high = (row[f"timescale_q{q}"] for q in ("25", "50", "75"))
            where = {"run": name, "depth": place / last}
            if 0 < middle < math.inf:
                medians.append(where | {"middle": middle})
            if 0 < low <= high < math.inf:
                quartiles.append(where | {"low": low, "high": high})
    y = alt.Y("middle:Q", title="timescale in steps: median and quartiles",
              scale=alt.Scale(type="log"), axis=alt.Axis(labelExpr=_STEPS))  # fmt: skip
    line = alt.Chart(data(medians)).encode(x=_depth_axis(), color=colour, y=y)
    band = alt.Chart(data(quartiles)).encode(
        x=_depth_axis(), color=colour, y=alt.Y("low:Q"), y2="high:Q"
    )
    layers = alt.layer(
        band.mark_area(opacity=0.12),
        line.mark_line(point={"filled": True, "size": 45}, strokeWidth=1.5),
    )
    return layers.properties(
        width=_WIDTH,
        height=_HEIGHT,
        title=f"timescales in gauge {' and '.join(sorted(gauges))} (infinite ones are not drawn)",
    )


def _gauges_of_all(runs: Sequence[Run]) -> set[str]:
    """The gauges that every run has layers in, so that these are drawn in one where they can be."""
    tables = [
        run.table(SPECTRUM_SUMMARY.name) for run in runs if SPECTRUM_SUMMARY.name in run.tables
    ]
    return set.intersection(*(set(table["gauge"].to_pylist()) for table in tables))


def compared_figure(runs: Sequence[Run], comparison: Run) -> alt.TopLevelMixin | None:
    """The same, where there is a distance."""
    if DECAY_DISTANCE.name not in comparison.tables:
        return None
    return comparison_figure(runs, comparison)
