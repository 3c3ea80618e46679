"""Tables for the terminal: a line per layer, or per depth of the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def layer_table(headings: Sequence[str], rows: Iterable[tuple[object, ...]]) -> Table:
    """A line per layer: its number, its kind, and the cells under `headings`."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", justify="right", no_wrap=True)
    table.add_column("kind", overflow="ellipsis", min_width=6)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def plain_table(headings: Sequence[str], rows: Iterable[tuple[object, ...]]) -> Table:
    """Cells under headings; the last column is folded where there is no room."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading != headings[-1], overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def depth_table(columns: Mapping[str, Mapping[int, float]]) -> Table:
    """A line per depth; columns: a value by depth for each, by its heading."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("depth", justify="right", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", min_width=5)
    for depth in sorted({depth for column in columns.values() for depth in column}):
        cells = (column.get(depth) for column in columns.values())
        table.add_row(str(depth), *("-" if v is None else f"{v:.3g}" for v in cells))
    return table
