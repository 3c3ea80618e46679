"""The boards as a picture: a row for each, a panel for each kind of spectra that are compared.

+--------------------------+--------------------------+
| longest memory, of       | of attention, in gauge   |
| runs in mode data        | retained                 |
+--------------------------+--------------------------+
| most selective           | ...                      |
+--------------------------+--------------------------+
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.display.chart_style import ACCENT, BAR, FAINT, TEXT, data, figure_style, fixed
from spectrakit.display.numbers import humanise
from spectrakit.errors import AnalysisError
from spectrakit.zoo.places import Group, by_group, shortened, sizes, told
from spectrakit.zoo.schemas import BOARDS, LEADERBOARD

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.tables import Run
else:
    alt = lazy_import("altair")

Row: TypeAlias = "dict[str, Any]"

_FIRST = 8
"""Places that are drawn of each board."""
_GROUPS = 2
"""Panels beside each other: those of most runs."""
_WIDTH, _LINE, _NAMES, _VALUES = 220, 19, 260, 60
"""Pixels: of a panel, of a place in it, of the names on its left and the values on its right."""
_LONGEST = 38
"""Characters of a name, or of the two of a pair together."""
_LOGARITHMIC = frozenset({"step"})
_MARGIN = 0.06


def leaderboard_figure(run: Run) -> alt.VConcatChart:
    """The first places of every board of a run that has a table `leaderboard`.

    Raises:
        AnalysisError: no run has a place.
    """
    rows = run.table(LEADERBOARD.name).to_pylist()
    counts = sizes(rows)
    drawn = [group for group, _ in counts.most_common(_GROUPS)]
    boards = [_board(board, rows, drawn, counts) for board in BOARDS]
    charts = [chart for chart in boards if chart is not None]
    if not charts:
        raise AnalysisError("no finished run has a place on a leaderboard")
    style = figure_style("Leaderboard", _subtitle(counts, drawn))
    style["title"].dx = -_NAMES
    return alt.vconcat(*charts, spacing=26, **style)


def _subtitle(counts: dict[Group, int], drawn: Sequence[Group]) -> list[str]:
    lines = ["runs are compared with runs of their mode, gauge, text and length alone"]
    if others := len(counts) - len(drawn):
        kinds = "kinds of spectra are" if others > 1 else "kind of spectra is"
        lines.append(f"{others} more {kinds} in {LEADERBOARD.name}.parquet")
    return lines


def _board(
    board: str, rows: Sequence[Row], drawn: Sequence[Group], counts: dict[Group, int]
) -> alt.HConcatChart | None:
    """The panels of a board; None where no run that is drawn has a place on it."""
    places = by_group(row for row in rows if row["board"] == board)
    panels = [
        _panel(places[group], f"{told(group, counts[group])}{_scale(places[group])}")
        for group in drawn
        if group in places
    ]
    if not panels:
        return None
    title = alt.TitleParams(
        board[0].upper() + board[1:],
        subtitle=_wrapped(BOARDS[board]),
        fontSize=14,
        fontWeight="bold",
        subtitleFontSize=11,
        offset=10,
        dx=-_NAMES,
    )
    # From plot to plot, whatever is written beside them: so the panels of all boards are in line.
    return alt.hconcat(*panels, bounds="flush", spacing=_NAMES + _VALUES, title=title)


def _scale(rows: Sequence[Row]) -> str:
    """How lengths are to be read, where they are not in proportion."""
    several = len({row["value"] for row in rows}) > 1
    return " · log scale" if several and rows[0]["unit"] in _LOGARITHMIC else ""


def _panel(rows: Sequence[Row], title: str) -> alt.LayerChart:
    """A line for each of the first places: the name, a dot at the value, and the value."""
    logarithmic = rows[0]["unit"] in _LOGARITHMIC
    shown = rows[:_FIRST]
    low, high = _ends([row["value"] for row in shown], logarithmic=logarithmic)
    records = [
        {
            "place": place,
            "name": f"{row['rank']}. {_label(row)}",
            "value": humanise(row["value"]),
            "x": low + (high - low) * _share(row["value"], low, high, logarithmic=logarithmic),
            "low": low,
        }
        for place, row in enumerate(shown)
    ]
    return alt.LayerChart(
        layer=_lines(records, low, high),
        width=_WIDTH,
        height=_LINE * len(shown),
        title=alt.TitleParams(
            title,
            anchor="start",
            dx=-_NAMES,
            fontSize=11,
            fontWeight="normal",
            color=TEXT,
            offset=4,
        ),
    )


def _lines(records: list[Row], low: float, high: float) -> list[alt.Chart]:
    base = alt.Chart(data(records))
    y = alt.Y("place:Q", axis=None, scale=fixed(len(records) - 0.5, -0.5))
    x = alt.X("x:Q", axis=None, scale=fixed(low, high))
    rule = base.mark_rule(color=FAINT).encode(x=x, x2="low", y=y)
    dots = base.mark_circle(color=BAR, size=60, opacity=1).encode(x=x, y=y)
    names = base.mark_text(align="right", dx=-8, limit=_NAMES - 10, color=TEXT)
    values = base.mark_text(align="left", dx=8, color=ACCENT)
    return [
        rule,
        dots,
        names.encode(x=alt.value(0), y=y, text="name:N"),
        values.encode(x=x, y=y, text="value:N"),
    ]


def _ends(values: Sequence[float], *, logarithmic: bool) -> tuple[float, float]:
    """Where the axis begins and ends: at 0, or half a decade below the least."""
    numbers = [_position(v, logarithmic=logarithmic) for v in values if 0 < v < math.inf]
    if not numbers:
        return 0.0, 1.0
    low = min(numbers) - 0.5 if logarithmic else 0.0
    return low, max(numbers)


def _position(value: float, *, logarithmic: bool) -> float:
    return math.log10(value) if logarithmic else value


def _share(value: float, low: float, high: float, *, logarithmic: bool) -> float:
    """How far along the axis; what is infinite stands at its end, beyond all others."""
    if math.isinf(value):
        return 1.0
    if value <= 0:
        return 0.0
    end = 1 - _MARGIN
    return end * (_position(value, logarithmic=logarithmic) - low) / (high - low)


def _label(row: Row) -> str:
    if row["board"] != "closest pairs":
        return shortened(row["run"], _LONGEST)
    return " & ".join(shortened(row[name], _LONGEST // 2) for name in ("run", "other_run"))


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, 110)
