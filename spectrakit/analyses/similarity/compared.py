"""How numbers of `similarity` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared
from spectrakit.analyses.massive.lines import limits_of
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.tables.summary_numbers import (
    Conditions,
    Number,
    Row,
    SummaryTable,
    options_alike,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def _alike(row: Row) -> Iterator[tuple[str, Number]]:
    yield f"{row['estimator']} to next depth", Number(row["value"], None)


#: Options of `similarity` that decide what an estimator takes.
_DECIDED_BY = {
    "cka_minibatch": ("group_tokens",),
    "cka_rbf": ("sample_tokens", "bandwidth"),
    "mutual_knn": ("sample_tokens", "neighbours"),
}


def _likeness_conditions(row: Row, settings: Mapping[str, object]) -> Conditions:
    own = ("without_first", *_DECIDED_BY.get(row["estimator"], ()))
    decided_by = [*limits_of(row), *(f"similarity.{name}" for name in own)]
    return options_alike(settings, *decided_by)


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
                conditions=_likeness_conditions,
            ),
        )
    )
