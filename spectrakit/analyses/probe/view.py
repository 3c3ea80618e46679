"""Linear probes in the terminal: one line per target and depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from spectrakit.analyses.probe.tables import PROBE
from spectrakit.display.numbers import percent

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

_LEGEND = (
    "accuracy of a linear probe on held-out sources, from the state at the prompts' last token, "
    "with its 95% interval; shuffled: the same on shuffled labels; chance: the most frequent label"
)
_REASONS = {
    "no_head": "not known: this model runs without its language head",
    "no_candidates": "not known: the other items have no answers of their own",
}


def view(run: Run) -> list[RenderableType]:
    """The `probe` table of a run, over all gold positions."""
    rows = [row for row in run.table(PROBE.name).to_pylist() if row["gold_position"] is None]
    table = Table(box=None, pad_edge=False)
    for heading in ("target", "depth", "accuracy", "interval", "shuffled", "chance"):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    for row in rows:
        table.add_row(row["target"], str(row["depth"]), *_told(row), percent(row["chance"]))
    return [table, Text(_own(rows[0])), Text(_LEGEND, style="dim")]


def _told(row: Row) -> tuple[str, str, str]:
    if row["reason"] is not None:
        return row["reason"], "", ""
    ends = f"{percent(row['accuracy_low'])} to {percent(row['accuracy_high'])}"
    return percent(row["accuracy"]), ends, percent(row["shuffled_accuracy"])


def _own(row: Row) -> str:
    asked = f"{row['prompt_set']}, {row['prompts']} prompts, {row['items']} items each"
    if row["model_reason"] is not None:
        return f"{asked}; the model's own choice is {_REASONS[row['model_reason']]}"
    ends = f"{percent(row['model_accuracy_low'])} to {percent(row['model_accuracy_high'])}"
    return f"{asked}; the model itself is right in {percent(row['model_accuracy'])} ({ends})"
