"""Flow of two runs in the terminal: means over depths of a few metrics of the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from spectrakit.analyses.massive.lines import USUAL
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.tables.comparison_schemas import SUMMARY_DIFFERENCE

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run

#: Metrics that have a line, on the stream without what is massive.
_METRICS = (
    "cosine_next", "inter_token_cosine", "normalised_variance", "effective_rank", "curvature",
)  # fmt: skip


def comparison_view(comparison: Run) -> Sequence[RenderableType]:
    """See `Compared.view`."""
    if SUMMARY_DIFFERENCE.name not in comparison.tables:
        return ()
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("flow, mean over depths")
    for heading in ("first", "other", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = comparison.table(SUMMARY_DIFFERENCE.name).to_pylist()
    subtracted = [
        row for row in rows if row["of_table"] == PROPAGATION.name and row["difference"] is not None
    ]
    for metric in _METRICS:
        name = f"{metric} stream {USUAL} {USUAL}"
        if chosen := [row for row in subtracted if row["metric"] == name]:
            means = (
                sum(row[side] for row in chosen) / len(chosen)
                for side in ("value", "other_value", "difference")
            )
            table.add_row(metric, *(f"{mean:.3g}" for mean in means))
    return (table,) if table.row_count else ()
