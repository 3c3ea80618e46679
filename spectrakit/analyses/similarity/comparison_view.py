"""Hidden states of two models in the terminal: a line per depth, with the depth most alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from spectrakit.analyses.massive.lines import is_usual
from spectrakit.analyses.similarity.tables import SIMILARITY

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

_LEGEND = (
    "linear CKA of the hidden states of both models: at the same relative depth, and at the depth "
    "of the other that is most alike"
)


def comparison_view(comparison: Run) -> Sequence[RenderableType]:
    """See `Compared.view`; only where the models were run again, on one text."""
    if SIMILARITY.name not in comparison.tables:
        return ()
    between = [
        row
        for row in comparison.table(SIMILARITY.name).to_pylist()
        if row["estimator"] == "cka" and is_usual(row) and row["value"] is not None
    ]
    return (_similar(between), Text(_LEGEND, style="dim")) if between else ()


def _similar(rows: Sequence[Row]) -> Table:
    """A line per depth of the first model: CKA at the same relative depth, and the largest."""
    value = {(row["depth"], row["other_depth"]): row["value"] for row in rows}
    last, other_last = (max(depths) for depths in zip(*value, strict=True))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("depth", "other", "CKA", "most alike", "CKA"):
        table.add_column(heading, justify="right", no_wrap=True)
    for depth in sorted({depth for depth, _ in value}):
        same = round(depth / max(last, 1) * other_last)
        found = {theirs: cka for (own, theirs), cka in value.items() if own == depth}
        most = max(found, key=found.__getitem__)
        cells = (depth, same, _number(found.get(same)), most, _number(found[most]))
        table.add_row(*map(str, cells))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
