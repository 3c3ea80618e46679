"""What a run found of how alike hidden states are, in the terminal: one line per depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from spectrakit.analyses.massive.lines import is_usual, massive_lines
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.analyses.similarity.estimators import BY_NAME
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.display.plain_tables import depth_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

#: By estimator, what it is called in a heading.
_HEADINGS: dict[str, str] = {
    name: own.heading[0] for name, own in BY_NAME.items() if own.heading is not None
}
_SHOWN = [own.heading[1] for own in BY_NAME.values() if own.heading is not None]
_SIMILAR = (
    f"{' and '.join(_SHOWN)} of a depth with the next, and with the last, without "
    "massive tokens and coordinates"
)


def view(run: Run) -> list[RenderableType]:
    """A line per depth, and a legend and what was left out."""
    if SIMILARITY.name not in run.tables:
        return []
    columns = _similar(run.table(SIMILARITY.name).to_pylist())
    parts: list[RenderableType] = [depth_table(columns), Text(_SIMILAR, style="dim")]
    if PROPAGATION.name not in run.tables and (lines := massive_lines(run)):
        parts += ["", Text("\n".join(lines))]
    return parts


def _similar(rows: Iterable[Row]) -> dict[str, dict[int, float]]:
    """Likeness to the next depth and to the last."""
    found: dict[str, dict[int, float]] = {}
    rows = [row for row in rows if row["estimator"] in _HEADINGS and is_usual(row)]
    last = max((row["other_depth"] for row in rows), default=0)
    for row in rows:
        if row["value"] is None or row["depth"] == row["other_depth"]:
            continue
        name = _HEADINGS[row["estimator"]]
        if row["other_depth"] == row["depth"] + 1:
            found.setdefault(f"{name} to next", {})[row["depth"]] = row["value"]
        if row["other_depth"] == last:
            found.setdefault(f"{name} to last", {})[row["depth"]] = row["value"]
    return found
