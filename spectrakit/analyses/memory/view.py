"""The `memory` analysis in the terminal: one line per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from spectrakit.analyses.memory.tables import MEMORY_SUMMARY
from spectrakit.display.numbers import humanise
from spectrakit.tables import LAYERS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run

_LEGEND = (
    "what a layer's state remembers, the mean of its heads or channels: rank, the inputs it could "
    "tell apart in all; the delays up to which half and 90% of them lie; the last delay with "
    "MF >= 0.1; what bfloat16 leaves of the rank"
)


def view(run: Run) -> list[RenderableType]:
    """A table with a line per layer, and what its columns mean."""
    if MEMORY_SUMMARY.name not in run.tables:
        return []
    kinds = {row["layer"]: row["kind"] for row in run.table(LAYERS.name).to_pylist()}
    found = run.table(MEMORY_SUMMARY.name)
    whole = found.filter(found["head"].is_null())
    rows = whole.filter(whole["channel"].is_null()).to_pylist()
    rounded = {row["layer"]: row["capacity"] for row in rows if row["precision"] == "bfloat16"}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", justify="right", no_wrap=True)
    table.add_column("kind", overflow="ellipsis", min_width=6)
    for heading in ("rank", "half by", "90% by", "MF >= 0.1", "in bfloat16"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: row["layer"]):
        if row["precision"] == "exact":
            table.add_row(str(row["layer"]), kinds[row["layer"]], *_cells(row, rounded))
    return [table, Text(_LEGEND, style="dim")]


def _cells(row: dict[str, Any], rounded: dict[int, float | None]) -> list[str]:
    if row["key_kernel_rank"] is not None:
        return [f"{row['key_kernel_rank']:.4g} of {row['keys']:.4g} keys", *["-"] * 4]
    if row["rank"] is None:
        return ["-"] * 5
    delays = [row[name] for name in ("delay_50", "delay_90", "last_delay_0p1")]
    left = rounded.get(row["layer"])
    return [
        f"{row['rank']:.4g}",
        *("-" if delay is None else humanise(delay) for delay in delays),
        "-" if left is None else f"{left:.4g}",
    ]
