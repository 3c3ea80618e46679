"""Spectra of two runs in the terminal: how far apart the decay rates of their layers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from spectrakit.display.numbers import humanise
from spectrakit.tables.comparison_schemas import DECAY_DISTANCE, SUMMARY_DIFFERENCE
from spectrakit.wording import named

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

_LEGEND = (
    "W1: Wasserstein distance of the two layers' decay rates, in decades (0.3: timescales differ "
    "by a factor of two, on average); median: the timescale -1/log|λ| in steps"
)


def comparison_view(comparison: Run) -> Sequence[RenderableType]:
    """See `Compared.view`."""
    if DECAY_DISTANCE.name not in comparison.tables:
        return ()
    distances = comparison.table(DECAY_DISTANCE.name).to_pylist()
    differences = comparison.table(SUMMARY_DIFFERENCE.name).to_pylist()
    parts: list[RenderableType] = [_spectra(distances, differences), Text(_LEGEND, style="dim")]
    if any(row["gauge"] == row["other_gauge"] == "dsf" for row in distances):
        parts.append(Text(_of_writing(), style="dim"))
    return parts


def _of_writing() -> str:
    return (
        "attention in gauge dsf, whose eigenvalues another writing of the same function changes: "
        f"run both without {named('gauge')} to compare functions"
    )


def _spectra(distances: Sequence[Row], differences: Sequence[Row]) -> Table:
    medians = {
        row["layer"]: (row["value"], row["other_value"])
        for row in differences
        if row["metric"].startswith("timescale_q50 discrete")
    }
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("layer", "other", "W1", "±", "median", "other's"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note")
    for row in distances:
        if row["domain"] == "discrete":
            table.add_row(
                str(row["layer"]),
                str(row["other_layer"]),
                _number(row["wasserstein_decades"]),
                _number(row["uncertainty_decades"]),
                *(_steps(value) for value in medians.get(row["layer"], (None, None))),
                row["reason"] or "",
            )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _steps(value: float | None) -> str:
    return "-" if value is None else humanise(value)
