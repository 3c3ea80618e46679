"""How numbers of `probe` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared
from spectrakit.analyses.probe.tables import PROBE
from spectrakit.representations.proportions import standard_error
from spectrakit.tables.summary_numbers import (
    Conditions,
    Number,
    Row,
    SummaryTable,
    options_alike,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def _told(row: Row) -> Iterator[tuple[str, Number]]:
    # The model's own choice is the same at every depth.
    for name in ("accuracy", "model_accuracy") if row["depth"] == 0 else ("accuracy",):
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        yield name, Number(row[name], None if low is None else standard_error(low, high))


def _probe_conditions(row: Row, settings: Mapping[str, object]) -> Conditions:
    return {"other-items": row["items"], **options_alike(settings, "probe.positions")}


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                PROBE.name,
                "depth",
                ("prompt_set", "target"),
                _told,
                kept=lambda row: row["gold_position"] is None,
                errors="standard",
                conditions=_probe_conditions,
            ),
        )
    )
