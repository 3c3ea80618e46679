"""The `empirical_memory` analysis in the terminal: a line for each place that was read."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY, EMPIRICAL_REASONS
from spectrakit.tables import LAYERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

_OF_STREAM = (
    "a white input in place of the residual stream at depth `driven`, read back at `depth`: "
)
_OF_MIXERS = "a white input in place of what each mixer is handed, read back from its output: "
_LEGEND = (
    "the share recovered of the token itself and of the one before; the last delay before it falls "
    "to what unrelated signals reach, and the sum up to there"
)


def view(run: Run) -> list[RenderableType]:
    """A table with a line for each depth, or each mixer, and what its columns mean."""
    rows = run.table(EMPIRICAL_MEMORY.name).to_pylist()
    found: dict[tuple[int, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(read_at(row), []).append(row)
    kinds = {row["layer"]: row["kind"] for row in run.table(LAYERS.name).to_pylist()}
    of_mixers = rows[0]["layer"] is not None
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    places = ("layer", "kind") if of_mixers else ("driven", "depth")
    for heading in (*places, "now", "before", "last delay", "sum"):
        left = heading == "kind"
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
    table.add_column("note")
    for place, by_delay in sorted(found.items()):
        named = (place[0], kinds[place[0]]) if of_mixers else place
        table.add_row(*map(str, named), *_curve(by_delay))
    legend = (_OF_MIXERS if of_mixers else _OF_STREAM) + _LEGEND
    return [table, Text(legend, style="dim")]


def read_at(row: Row) -> tuple[int, ...]:
    """The layer whose mixer a row is of, or the depths where the signal enters and is read."""
    if row["layer"] is not None:
        return (row["layer"],)
    return row["driven_depth"], row["depth"]


def _curve(rows: Sequence[Row]) -> list[str]:
    """Cells of one curve, whose delays are every one at first and then further apart."""
    if rows[0]["value"] is None:
        return [*["-"] * 4, EMPIRICAL_REASONS[rows[0]["reason"]]]
    values = {row["delay"]: row["value"] for row in rows}
    first = [f"{values[delay]:.3g}" if delay in values else "-" for delay in (0, 1)]
    last = last_remembered(rows)
    if last is None:
        return [*first, "-", "-", ""]
    upto = [delay for delay in sorted(values) if delay <= last]
    return [*first, str(last), f"{_sum(upto, [values[delay] for delay in upto]):.3g}", ""]


def last_remembered(rows: Sequence[Row]) -> int | None:
    """The last delay of a curve before it first falls below its threshold."""
    return max((row["delay"] for row in rows if row["remembered"]), default=None)


def _sum(delays: Sequence[int], values: Sequence[float]) -> float:
    """Over every delay, those that were left out taken on the straight line between."""
    total = values[-1]
    for (delay, value), (after, following) in pairwise(zip(delays, values, strict=True)):
        width = after - delay
        total += width * value + (following - value) * (width - 1) / 2
    return total
