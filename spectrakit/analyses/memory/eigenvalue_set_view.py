"""The memory of sets of eigenvalues in the terminal: a line for each set and step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run

_LEGEND = (
    "rank, the inputs a state could tell apart in all; how many of them within the horizon; the "
    "delays up to which half and 90% of the rank lie; the last delays with MF >= .5 and .01"
)
_SHOWN = ("rank", "capacity_within", "delay_50", "delay_90", "last_delay_0p5", "last_delay_0p01",
          "mean_delay")  # fmt: skip


def set_summaries(run: Run) -> list[dict[str, Any]]:
    """The row of `memory_summary` of each system and precision, with its name."""
    names = {row["layer"]: row["path"] for row in run.table("layers").to_pylist()}
    return [
        {"name": names[row["layer"]], **row}
        for row in run.table("memory_summary").to_pylist()
        if row["channel"] is None
    ]


def view(run: Run) -> list[RenderableType]:
    """A line for each system, exactly computed, with a legend."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("eigenvalues", no_wrap=True)
    for heading in ("rank", "within", "half by", "90% by", "MF >= .5", "MF >= .01", "mean delay"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in set_summaries(run):
        if row["precision"] == "exact":
            shown = [row[name] for name in _SHOWN]
            table.add_row(row["name"], *("-" if v is None else f"{v:.5g}" for v in shown))
    return [table, Text(_LEGEND, style="dim")]
