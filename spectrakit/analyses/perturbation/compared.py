"""How numbers of `perturbation` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared
from spectrakit.analyses.perturbation.tables import PERTURBATION
from spectrakit.tables.summary_numbers import (
    Conditions,
    Number,
    Row,
    SummaryTable,
    options_alike,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def _gains(row: Row) -> Iterator[tuple[str, Number]]:
    lag = row["lag"]
    yield f"gain at lag {lag}", Number(row["gain"], row["standard_error"])
    relative = Number(row["relative_gain"], row["relative_standard_error"])
    yield f"relative_gain at lag {lag}", relative


def _gain_conditions(_: Row, settings: Mapping[str, object]) -> Conditions:
    return options_alike(settings, "perturbation.size")


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                PERTURBATION.name,
                "depth",
                (),
                _gains,
                kept=lambda _: True,
                errors="standard",
                conditions=_gain_conditions,
            ),
        )
    )
