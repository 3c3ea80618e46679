"""The boards in the terminal: what decides the places, the first of each, and who has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.table import Table
from rich.text import Text

from spectrakit.display.numbers import humanise
from spectrakit.zoo.places import Group, by_group, shortened, sizes, told
from spectrakit.zoo.schemas import BOARDS, LEADERBOARD

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run

Row: TypeAlias = "dict[str, Any]"

_FIRST = 5
"""Places of each board that are shown."""
_LONGEST = 36
"""Characters of a run's name."""
_GROUPS = 4
"""Of what is compared; a zoo of many texts has more."""


def view(run: Run) -> list[RenderableType]:
    """The boards of a run that has a table `leaderboard`."""
    rows = run.table(LEADERBOARD.name).to_pylist()
    if not rows:
        return [Text("no finished run, and so no leaderboard")]
    counts = sizes(rows)
    parts: list[RenderableType] = []
    for board, meaning in BOARDS.items():
        own = [row for row in rows if row["board"] == board]
        parts += [""] if parts else []
        parts += [
            Text(board, style="bold"),
            Text(meaning, style="dim"),
            *_board(board, own, counts),
        ]
    parts += ["", Text(_LEGEND, style="dim")]
    return parts


_LEGEND = (
    "timescales are within 1 %, distances within 0.01 decades; a run is compared with runs of its "
    f"mode, gauge, text and length alone; all places are in {LEADERBOARD.name}.parquet"
)


def _board(board: str, rows: Sequence[Row], counts: Counter[Group]) -> Iterator[RenderableType]:
    groups = by_group(rows)
    if not groups:
        yield Text("no places")
    for group, places in list(groups.items())[:_GROUPS]:
        yield Text(told(group, counts[group]))
        yield _places(board, places)
    if len(groups) > _GROUPS:
        yield Text(f"and {len(groups) - _GROUPS} more of other modes, gauges or texts")
    reasons = Counter(row["note"] for row in rows if row["rank"] is None)
    for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        yield Text(f"no place: {count} run{'s' if count > 1 else ''}: {reason}", style="dim")


#: What the other run of a row is.
_OTHER = {"closest pairs": "and", "oddest": "most like it"}


def _places(board: str, rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", justify="right", no_wrap=True, min_width=3)
    table.add_column("run", overflow="ellipsis", no_wrap=True, min_width=12)
    table.add_column(f"{rows[0]['unit']}s", justify="right", no_wrap=True, min_width=7)
    if board in _OTHER:
        table.add_column(_OTHER[board], overflow="ellipsis", no_wrap=True)
    table.add_column("")
    for row in rows[:_FIRST]:
        cells = [shortened(row["run"], _LONGEST), humanise(row["value"])]
        cells += [shortened(row["other_run"], _LONGEST)] if board in _OTHER else []
        table.add_row(str(row["rank"]), *(Text(cell) for cell in (*cells, row["note"] or "")))
    if len(rows) > _FIRST:
        table.add_row("", Text(f"and {len(rows) - _FIRST} more", style="dim"))
    return table
