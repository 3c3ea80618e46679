"""What the layers of a model remember, by delay; of softmax attention, how many keys differ.

+--------------------------+--------------------------+------------------+
| a curve per layer:       | the mean of the layers,  | keys by layer,   |
| MF by delay, log axes    | by how the state is kept | and their rank   |
+--------------------------+--------------------------+------------------+

A head that holds several inputs (S5, LRU) remembers more than one of them: its curve starts above
one. The second part is there where a run says what rounding leaves, the third where there is
softmax attention.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spectrakit._lazy import lazy_import
from spectrakit.analyses.memory.key_kernel_chart import key_ranks, key_ranks_chart
from spectrakit.analyses.memory.tables import MEMORY_FUNCTION, MEMORY_SUMMARY
from spectrakit.display.chart_style import data, run_style
from spectrakit.display.numbers import humanise
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.display.binning import Records
    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_WIDTH, _HEIGHT = 400, 340
#: Powers of ten on the axis of delays up to which what lies between them is marked too.
_FEW_POWERS = 3
FLOOR = 1e-4
"""Memory below this is drawn as none."""

PRECISIONS = ("exact", "float32", "float16", "bfloat16")
"""In the order of how much they keep."""


def memory_figure(run: Run) -> alt.HConcatChart:
    """The curves of a run's `memory_function` table, and the ranks in its `memory_summary`.

    Raises:
        AnalysisError: no layer of the run has a memory function or a key kernel.
    """
    rows = layer_curves(run) if MEMORY_FUNCTION.name in run.tables else []
    summaries = run.table(MEMORY_SUMMARY.name) if MEMORY_SUMMARY.name in run.tables else None
    ranks = [] if summaries is None else key_ranks(summaries.to_pylist())
    if not rows and not ranks:
        raise AnalysisError(f"{run.manifest.model_id} has no memory functions to draw")
    charts: list[alt.Chart | alt.LayerChart] = []
    subtitle: list[str] = []
    if rows:
        exact = [row for row in rows if row["precision"] == "exact"]
        axes = Axes(exact)
        charts.append(_by_layer(exact, axes))
        if len({row["precision"] for row in rows}) > 1:
            charts.append(_by_precision(rows, axes))
        subtitle += _subtitle(exact)
    if ranks:
        charts.append(key_ranks_chart(ranks))
        subtitle += [_OF_KEYS]
    return alt.hconcat(*charts, spacing=36, **run_style(run, subtitle))


def layer_curves(run: Run) -> list[Row]:
    """The rows of `memory_function` that are the mean of a layer."""
    names = ["layer", "mode", "past", "precision", "delay", "memory"]
    table = run.table(MEMORY_FUNCTION.name)
    whole = table.filter(table["head"].is_null())
    rows: list[Row] = whole.filter(whole["channel"].is_null()).select(names).to_pylist()
    return rows


class Axes:
    """The log axes that all curves of a picture share: delay + 1, so that there is a delay 0."""

    def __init__(
        self, rows: Sequence[Row], title: str = "memory function", floor: float = FLOOR
    ) -> None:
        self.title = title
        self.floor = floor
        seen = [row["delay"] for row in rows if row["memory"] >= floor]
        last = max(1, *seen) if seen else 1
        # The delay at which the last curve has left the picture is still in it, if it is near.
        after = (row["delay"] for row in rows if last < row["delay"] <= 2 * last)
        self.last = min(after, default=last)
        self.highest = max(1.0, *(row["memory"] for row in rows))

    def records(self, rows: Sequence[Row], series: str) -> Records:
        """Points of the curves, down to where they meet the floor."""
        found: Records = []
        for row in rows:
            if row["delay"] <= self.last:
                memory = max(row["memory"], self.floor / 2)
                at = {"x": row["delay"] + 1, "memory": float(f"{memory:.4g}")}
                found.append({"series": row[series], **at})
        return found

    @property
    def x(self) -> alt.X:
        """Delays."""
        powers = range(int(np.ceil(np.log10(self.last + 1))))
        steps = (1, 2, 5) if len(powers) <= _FEW_POWERS else (1,)
        tens = (step * 10**power for power in powers for step in steps)
        marks = [0, *(mark for mark in tens if mark <= self.last)]
        names = " : ".join(f"datum.value == {mark + 1} ? '{humanise(mark)}'" for mark in marks)
        return alt.X(
            "x:Q",
            title="delay (tokens)",
            scale=alt.Scale(type="log", domain=[1, self.last + 1], nice=False),
            axis=alt.Axis(values=[mark + 1 for mark in marks], labelExpr=f"{names} : ''", zindex=1),
        )

    @property
    def y(self) -> alt.Y:
        """Memory."""
        return alt.Y(
            "memory:Q",
            title=self.title,
            scale=alt.Scale(type="log", domain=[self.floor, 1.05 * self.highest], nice=False),
            axis=alt.Axis(values=[10.0**k for k in range(-4, 5)], format="~g", zindex=1),
        )


def place_colour(title: str, places: Collection[int]) -> alt.Color:
    """The colours of curves of `places`, layers or depths, which are the series: by their order."""
    first, last = min(places), max(places)
    return alt.Color(
        "series:Q",
        title=title,
        scale=alt.Scale(scheme="viridis", domain=[first, max(last, first + 1)]),
        legend=alt.Legend(gradientLength=140, gradientThickness=10, format="d", tickMinStep=1)
        if len(places) > 1
        else None,
    )


def _by_layer(rows: list[Row], axes: Axes) -> alt.Chart:
    colour = place_colour("layer", {row["layer"] for row in rows})
    chart: alt.Chart = (
        alt.Chart(data(axes.records(rows, "layer")))
        .mark_line(strokeWidth=1.5, clip=True, opacity=0.85)
        .encode(x=axes.x, y=axes.y, color=colour, detail="series:N")
    )
    return chart.properties(width=_WIDTH, height=_HEIGHT, title="Memory of each layer")


def _by_precision(rows: list[Row], axes: Axes) -> alt.Chart:
    found = []
    for precision in PRECISIONS:
        here = [row for row in rows if row["precision"] == precision]
        by_delay: dict[int, list[float]] = {}
        for row in here:
            by_delay.setdefault(row["delay"], []).append(row["memory"])
        found += [
            {"series": precision, "delay": delay, "memory": float(np.mean(memory))}
            for delay, memory in by_delay.items()
        ]
    colour = alt.Color(
        "series:N",
        title="state kept in",
        scale=alt.Scale(
            domain=list(PRECISIONS), range=["#222222", "#31688e", "#35b779", "#d95f02"]
        ),
    )
    chart: alt.Chart = (
        alt.Chart(data(axes.records(found, "series")))
        .mark_line(strokeWidth=2, clip=True)
        .encode(x=axes.x, y=axes.y, color=colour)
    )
    title = "Mean of the layers, by the precision of the state"
    return chart.properties(width=_WIDTH, height=_HEIGHT, title=title)


_OF_KEYS = "softmax attention keeps every key: how many of those compared are different"


def _subtitle(rows: list[Row]) -> list[str]:
    modes = " + ".join(sorted({row["mode"] for row in rows}))
    pasts = sorted({row["past"] for row in rows})
    layers = len({row["layer"] for row in rows})
    past = {"infinite": "an infinite past", "horizon": "a finite past", "sequence": "a sequence"}
    counted = f"the mean of the heads or channels of {layers} layers"
    return [
        "share of the variance of an input that is read back from the state so many tokens later",
        f"{modes} · over {' or '.join(past[one] for one in pasts)} · {counted}",
    ]
