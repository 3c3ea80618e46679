"""A comparison in the terminal: every other run beside the first, as analyses declare it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spectrakit._lazy import lazy_import
from spectrakit.comparison.chart import run_label
from spectrakit.comparison.difference_blocks import other_differences, unlike_numbers
from spectrakit.comparison.run_settings import other_settings
from spectrakit.plugins import plugins
from spectrakit.tables import Run
from spectrakit.tables.comparison_schemas import SUMMARY_DIFFERENCE, UNLIKE

if TYPE_CHECKING:
    import pyarrow.compute as pc
    from rich.console import RenderableType

    from spectrakit.analyses.kind import Compared, ComparedColumns
    from spectrakit.tables.summaries import Row
else:
    pc = lazy_import("pyarrow.compute")


def comparison_report(runs: Sequence[Run], comparison: Run) -> RenderableType:
    """What `comparison` found between the first of `runs` and each of the others."""
    parts: list[RenderableType] = []
    for number, other in enumerate(runs[1:], 1):
        title = f"{run_label(runs[0], 0)} and {run_label(other, number)}"
        parts.append(Text(title, style="bold"))
        if settings := other_settings(runs[0], other):
            parts.append(Text(f"set otherwise: {settings}"))
        parts += _pair(_rows_of(comparison, number))
        parts.append("")
    return Group(*parts)


def _rows_of(comparison: Run, number: int) -> Run:
    """The rows that are of run `number`, of the tables that have some."""
    tables = {name: comparison.table(name) for name in comparison.tables}
    own = {
        name: table.filter(pc.equal(table["other_run"], number)) for name, table in tables.items()
    }
    return Run(None, comparison.manifest, {name: rows for name, rows in own.items() if len(rows)})


def _pair(comparison: Run) -> list[RenderableType]:
    """The blocks of the analyses, and the largest differences of tables that no block shows."""
    rows: list[Row] = []
    if SUMMARY_DIFFERENCE.name in comparison.tables:
        rows = comparison.table(SUMMARY_DIFFERENCE.name).to_pylist()
    parts: list[RenderableType] = []
    shown: set[str] = set()
    unlike = dict(UNLIKE)
    for compared in _compared():
        unlike |= compared.unlike
        for block in _blocks(compared, comparison, rows):
            parts += ["", *block.parts] if parts else block.parts
            shown |= block.tables
    if not parts and not rows:
        return [Text("the two runs have no table in common that is compared")]
    parts += other_differences([row for row in rows if row["of_table"] not in shown])
    parts += unlike_numbers(rows, unlike)
    return parts


def _compared() -> Iterator[Compared]:
    registry = plugins().analysis_kinds()
    for name in registry.things:
        if (compared := registry[name].compared) is not None:
            yield compared()


@dataclass(frozen=True)
class _Block:
    """What is shown of some tables, and which these are."""

    parts: Sequence[RenderableType]
    tables: set[str]


def _blocks(compared: Compared, comparison: Run, rows: Sequence[Row]) -> Iterator[_Block]:
    """What one analysis shows."""
    if compared.view is not None and (parts := compared.view(comparison)):
        yield _Block(parts, set(compared.shown))
    tables = {summary.table for summary in compared.summaries}
    own = [row for row in rows if row["of_table"] in tables]
    for columns in compared.columns:
        if chosen := [row for row in own if row["metric"] in columns.headings]:
            legend = Text(columns.legend, style="dim")
            yield _Block((_by_layer(chosen, columns), legend), {row["of_table"] for row in chosen})


def _by_layer(rows: Sequence[Row], columns: ComparedColumns) -> Table:
    """Some metrics of both layers, side by side."""
    found: dict[tuple[int, int], dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["layer"], row["other_layer"]), {})[row["metric"]] = row
    headings = [heading for own in columns.headings.values() for heading in (own, "other's")]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("layer", "other", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair, metrics in sorted(found.items()):
        values = (
            metrics[name][side] if name in metrics else None
            for name in columns.headings
            for side in ("value", "other_value")
        )
        cells = ("-" if value is None else columns.text(value) for value in values)
        table.add_row(*map(str, pair), *cells)
    return table
