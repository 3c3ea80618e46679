"""What a run found of hidden states, in the terminal: one line per depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spectrakit.report.empirical_memory_report import empirical_memory_report
from spectrakit.report.massive_lines import is_usual, massive_lines
from spectrakit.tables.empirical_memory_schema import EMPIRICAL_MEMORY
from spectrakit.tables.propagation_schema import PERTURBATION, PROPAGATION
from spectrakit.tables.similarity_schema import SIMILARITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import RenderableType

    from spectrakit.report.summaries import Row
    from spectrakit.tables import Run

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
_SIMILAR = (
    "CKA and common nearest neighbours (kNN) of a depth with the next, and with the last, without "
    "massive tokens and coordinates"
)
_GAINS = (
    "what a small change of one token at depth 0 has become, over |h|: at that token, and at the "
    "next"
)


def states_report(run: Run) -> RenderableType:
    """The lines of `similarity`, `propagation` and others, for those that `run` has."""
    parts: list[RenderableType] = []
    for table, columns_of, legend in (
        (PROPAGATION, _flow, _FLOW),
        (SIMILARITY, _similar, _SIMILAR),
        (PERTURBATION, _gains, _GAINS),
    ):
        if table.name in run.tables:
            columns = columns_of(run.table(table.name).to_pylist())
            parts += [_table(columns), Text(legend, style="dim"), ""]
    if lines := massive_lines(run):
        parts += [Text("\n".join(lines)), ""]
    if EMPIRICAL_MEMORY.name in run.tables:
        parts += [*empirical_memory_report(run), ""]
    return Group(*parts)


def _flow(rows: Iterable[Row]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        whole = row["position_low"] is None and is_usual(row)
        if whole and row["of"] == "stream" and row["metric"] in _SHOWN:
            column = found.setdefault(_SHOWN[row["metric"]], {})
            if row["value"] is not None:
                column[row["depth"]] = row["value"]
    return {name: found[name] for name in _SHOWN.values() if name in found}


def _similar(rows: Iterable[Row]) -> dict[str, dict[int, float]]:
    """Likeness to the next depth and to the last."""
    found: dict[str, dict[int, float]] = {}
    rows = [row for row in rows if row["estimator"] in ("cka", "mutual_knn") and is_usual(row)]
    last = max((row["other_depth"] for row in rows), default=0)
    for row in rows:
        if row["value"] is None or row["depth"] == row["other_depth"]:
            continue
        name = "CKA" if row["estimator"] == "cka" else "kNN"
        if row["other_depth"] == row["depth"] + 1:
            found.setdefault(f"{name} to next", {})[row["depth"]] = row["value"]
        if row["other_depth"] == last:
            found.setdefault(f"{name} to last", {})[row["depth"]] = row["value"]
    return found


def _gains(rows: Iterable[Row]) -> dict[str, dict[int, float]]:
    """What a change of a token has become at that token, and at the next."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["lag"] in (0, 1) and row["relative_gain"] is not None:
            name = "gain" if row["lag"] == 0 else "of the next"
            found.setdefault(name, {})[row["depth"]] = row["relative_gain"]
    return found


def _table(columns: Mapping[str, Mapping[int, float]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("depth", justify="right", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", min_width=5)
    for depth in sorted({depth for column in columns.values() for depth in column}):
        cells = (column.get(depth) for column in columns.values())
        table.add_row(str(depth), *("-" if v is None else f"{v:.3g}" for v in cells))
    return table
