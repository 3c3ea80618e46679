"""Differences of summaries that no other block of a comparison shows, in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from spectrakit.tables.comparison_schemas import SUMMARY_DIFFERENCE

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables.summaries import Row

#: Differences of a table that have a line.
_LINES = 3


def other_differences(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """For each table in `rows` of `summary_difference` the largest differences, and how many."""
    for name in dict.fromkeys(row["of_table"] for row in rows):
        found = [row for row in rows if row["of_table"] == name and row["difference"] is not None]
        if found:
            yield ""
            yield _largest(name, found)
            count = f"{len(found)} differences" if len(found) > 1 else "1 difference"
            yield Text(
                f"the largest of {count} of {name} in {SUMMARY_DIFFERENCE.name}.parquet",
                style="dim",
            )


def _largest(name: str, found: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(name)
    for heading in ("at", "first", "other", "difference", "±"):
        table.add_column(heading, justify="right", no_wrap=True)
    largest = sorted(found, key=lambda row: -abs(row["difference"]))[:_LINES]
    for row in largest:
        numbers = (row[side] for side in ("value", "other_value", "difference", "uncertainty"))
        cells = ("-" if number is None else f"{number:.3g}" for number in numbers)
        table.add_row(row["metric"], _place(row), *cells)
    return table


def _place(row: Row) -> str:
    """A layer, or how deep in the model."""
    if row["layer"] is not None:
        return f"layer {row['layer']}"
    return f"{100 * row['depth']:.0f}% depth"


def unlike_numbers(rows: Sequence[Row], unlike: Mapping[str, str]) -> Iterator[RenderableType]:
    """A line for each table and reason why numbers of both runs were not subtracted.

    unlike: what these reasons mean, by their codes.
    """
    counts = Counter((row["of_table"], row["reason"]) for row in rows if row["reason"] in unlike)
    if counts:
        yield ""
    for (name, code), count in counts.items():
        numbers = "pairs of numbers are" if count > 1 else "pair of numbers is"
        yield Text(f"{name}: {count} {numbers} not subtracted ({code}): {unlike[code]}")
