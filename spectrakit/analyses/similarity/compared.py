"""How numbers of `similarity` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared
from spectrakit.analyses.massive.lines import limits_of
from spectrakit.analyses.similarity.comparison_view import comparison_view
from spectrakit.analyses.similarity.estimators import BY_NAME
from spectrakit.analyses.similarity.options import SimilarityOptions
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.options import settings
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


def _likeness_conditions(row: Row, told: Mapping[str, object]) -> Conditions:
    own = (f"similarity.{name}" for name in _decided_by(row["estimator"]))
    return options_alike(told, *limits_of(row), *own)


#: Which are computed, and within which memory: options that decide no value.
_OF_THE_WORK = {"estimators", "memory_mib"}


def _decided_by(estimator: str) -> Iterator[str]:
    """The options that its value follows: its own, and those that are of no one estimator."""
    others = {name for own in BY_NAME.values() for name in (*own.decided_by, *own.written)}
    for name in (setting.name for setting in settings(SimilarityOptions)):
        if name not in others | _OF_THE_WORK or name in _own(estimator):
            yield name


def _own(estimator: str) -> tuple[str, ...]:
    # A run of another version may have estimators that there are not here.
    return next((own.decided_by for name, own in BY_NAME.items() if name == estimator), ())


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
        ),
        view=comparison_view,
    )
