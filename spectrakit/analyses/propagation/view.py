"""What a run found of how hidden states travel, in the terminal: one line per depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from spectrakit.analyses.massive.lines import is_usual, massive_lines
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.display.plain_tables import depth_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

#: Metrics of the residual stream that have a column, and what that is called.
_SHOWN = {
    "cosine_next": "cosine to next",
    "inter_token_cosine": "of tokens",
    "normalised_variance": "variance",
    "effective_rank": "rank",
    "curvature": "curvature",
}
_FLOW = (
    "the residual stream h: depth 0 enters the first block, depth l leaves the l-th; means without "
    "massive tokens and coordinates: cosine of a token to itself at the next depth, and of two "
    "tokens; their variance over |h|^2; effective rank; angle between two updates in degrees"
)


def view(run: Run) -> list[RenderableType]:
    """A line per depth, and a legend and what was left out."""
    if PROPAGATION.name not in run.tables:
        return []
    columns = _flow(run.table(PROPAGATION.name).to_pylist())
    parts: list[RenderableType] = [depth_table(columns), Text(_FLOW, style="dim")]
    if lines := massive_lines(run):
        parts += ["", Text("\n".join(lines))]
    return parts


def _flow(rows: Iterable[Row]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        whole = row["position_low"] is None and is_usual(row)
        if whole and row["of"] == "stream" and row["metric"] in _SHOWN:
            column = found.setdefault(_SHOWN[row["metric"]], {})
            if row["value"] is not None:
                column[row["depth"]] = row["value"]
    return {name: found[name] for name in _SHOWN.values() if name in found}
