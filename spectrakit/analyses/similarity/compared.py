"""How numbers of `similarity` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared
from spectrakit.analyses.similarity.comparison_view import comparison_view
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.tables.summary_numbers import (
    Number,
    Row,
    SummaryTable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def _alike(row: Row) -> Iterator[tuple[str, Number]]:
    yield f"{row['estimator']} to next depth", Number(row["value"], None)


def _of_neighbours(row: Row) -> bool:
    """Whether it is of a depth and the next, of one model."""
    return row["other_run"] is None and row["other_depth"] == row["depth"] + 1


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                SIMILARITY.name,
                "depth",
                ("token_set", "coordinates"),
                _alike,
                kept=_of_neighbours,
                errors="standard",
            ),
        ),
        view=comparison_view,
    )
