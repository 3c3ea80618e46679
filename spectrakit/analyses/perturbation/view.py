"""What a run found of what a change of a token becomes, in the terminal: one line per depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from spectrakit.analyses.perturbation.tables import PERTURBATION
from spectrakit.display.plain_tables import depth_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

_GAINS = (
    "what a small change of one token at depth 0 has become, over |h|: at that token, and at the "
    "next"
)


def view(run: Run) -> list[RenderableType]:
    """A line per depth, and a legend."""
    columns = _gains(run.table(PERTURBATION.name).to_pylist())
    parts: list[RenderableType] = [depth_table(columns), Text(_GAINS, style="dim")]
    return parts


def _gains(rows: Iterable[Row]) -> dict[str, dict[int, float]]:
    """What a change of a token has become at that token, and at the next."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["lag"] in (0, 1) and row["relative_gain"] is not None:
            name = "gain" if row["lag"] == 0 else "of the next"
            found.setdefault(name, {})[row["depth"]] = row["relative_gain"]
    return found
