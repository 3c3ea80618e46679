"""How many of the keys of softmax attention are different: its kernel's rank, layer by layer.

A bar as high as there are keys, a narrower one in front as high as the mean rank of the heads, and
a point for every head that was looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.display.chart_style import ACCENT, BAR, FAINT, data

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_HEIGHT = 340
#: Of a layer, and of the whole at least and at most, in pixels.
_STEP, _NARROWEST, _WIDEST = 24, 120, 400

_KEYS, _RANK, _HEAD = (
    "keys compared, of those a query reads",
    "of them different: mean of heads",
    "in one head",
)


def key_ranks(rows: Sequence[Row]) -> list[Row]:
    """Those rows of `memory_summary` that are of a key kernel."""
    return [row for row in rows if row["key_kernel_rank"] is not None]


def key_ranks_chart(rows: Sequence[Row]) -> alt.LayerChart:
    """Of the rows that `key_ranks` gives."""
    layers = len({row["layer"] for row in rows})
    whole = [row for row in rows if row["head"] is None]
    heads = [row for row in rows if row["head"] is not None]
    highest = max(row["keys"] for row in whole)
    x = alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, labelOverlap=True),
              scale=alt.Scale(paddingInner=0.25))  # fmt: skip
    y = alt.Y("keys:Q", title="keys", stack=None,
              scale=alt.Scale(domain=[0, highest], nice=False))  # fmt: skip
    colour = alt.Color(
        "what:N",
        title=None,
        scale=alt.Scale(domain=[_KEYS, _RANK, _HEAD], range=[FAINT, BAR, ACCENT]),
        legend=alt.Legend(labelLimit=0),
    )
    parts = (
        alt.Chart(_counted(whole, "keys", _KEYS)).mark_bar(width=alt.RelativeBandSize(1)),
        alt.Chart(_counted(whole, "key_kernel_rank", _RANK)).mark_bar(
            width=alt.RelativeBandSize(0.6)
        ),
        alt.Chart(_counted(heads, "key_kernel_rank", _HEAD)).mark_circle(size=28, opacity=1),
    )
    return alt.LayerChart(
        layer=[part.encode(x=x, y=y, color=colour) for part in parts],
        width=min(max(_STEP * layers, _NARROWEST), _WIDEST),
        height=_HEIGHT,
        title="Keys that attention can tell apart",
    )


def _counted(rows: Sequence[Row], column: str, what: str) -> alt.InlineData:
    return data(
        [{"layer": row["layer"], "what": what, "keys": round(row[column], 3)} for row in rows]
    )
