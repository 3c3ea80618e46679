"""What is read back of a white signal, by delay: a curve for each depth, block or mixer.

Log axes. In the grey at the bottom curves are noise: read-outs of unrelated signals reach as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.empirical_memory.driven import drive
from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY, EMPIRICAL_REASONS
from spectrakit.analyses.empirical_memory.view import last_remembered
from spectrakit.analyses.memory.chart import Axes, place_colour
from spectrakit.display.chart_style import ABSENT, data, run_style
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_WIDTH, _HEIGHT = 480, 340
#: Memory below this is drawn as none, however little noise there is.
_LOWEST = 1e-4
_GREY = "grey: what unrelated signals may reach"

#: What a curve is of, the column that says which one, and how the picture puts it.
_KINDS = {
    "model": ("depth", "depth", "in place of the embeddings, read back from the residual stream"),
    "blocks": (
        "block",
        "driven_depth",
        "into a block, read back from the residual stream behind it",
    ),
    "mixers": ("layer", "layer", "into a mixer alone, read back from its output"),
}


def empirical_memory_figure(run: Run) -> alt.LayerChart:
    """The curves of a run's `empirical_memory` table, without those of where the signal enters.

    Raises:
        AnalysisError: nothing could be read back, for lack of tokens or of a recurrence.
    """
    behind = [row for row in run.table(EMPIRICAL_MEMORY.name).to_pylist() if _is_behind(row)]
    rows = [row for row in behind if row["value"] is not None]
    if not rows:
        raise AnalysisError(f"{run.manifest.model_id} has no empirical memory to draw")
    name, column, where = _KINDS[drive(behind)]
    thresholds = [row["threshold"] for row in rows]
    # A little of the noise, not all of it.
    last = max(1, last_remembered(rows) or 1)
    curves = [
        {"place": row[column], "delay": row["delay"], "memory": row["value"]}
        for row in rows
        if row["delay"] <= 2 * last
    ]
    # Down to the noise of the curve that has least of it: no other curve is cut off above it.
    axes = Axes(curves, "R² of the read-out", floor=max(min(thresholds) / 4, _LOWEST))
    lines = (
        alt.Chart(data(axes.records(curves, "place")))
        .mark_line(strokeWidth=1.5, clip=True, opacity=0.85)
        .encode(
            x=axes.x,
            y=axes.y,
            color=place_colour(name, {row["place"] for row in curves}),
            detail="series:N",
        )
    )
    noise = (
        alt.Chart(data([{"memory": axes.floor, "noise": max(*thresholds, axes.floor)}]))
        .mark_rect(color=ABSENT, opacity=0.8)
        .encode(y=axes.y, y2="noise")
    )
    subtitle = [
        f"share of the variance of a white input {where}, so many tokens later",
        f"linear read-outs, scored on {rows[0]['samples']:,} tokens they never saw; {_GREY}",
        *_not_shown(behind, name, column),
    ]
    style = run_style(run, subtitle)
    return alt.LayerChart(layer=[lines, noise], width=_WIDTH, height=_HEIGHT, **style)


def _not_shown(rows: Sequence[Row], name: str, column: str) -> list[str]:
    """A line for each reason why there is no curve."""
    found: dict[str, set[int]] = {}
    for row in rows:
        if row["value"] is None:
            found.setdefault(row["reason"], set()).add(row[column])
    return [
        f"no curve of {name} {', '.join(map(str, sorted(places)))}: {EMPIRICAL_REASONS[reason]}"
        for reason, places in found.items()
    ]


def _is_behind(row: Row) -> bool:
    """Whether it is of somewhere behind where the signal enters."""
    return row["layer"] is not None or row["depth"] != row["driven_depth"]
