"""How numbers of `propagation` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared
from spectrakit.analyses.massive.lines import limits_of
from spectrakit.analyses.propagation.comparison_view import comparison_view
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.tables.summary_numbers import (
    Conditions,
    Number,
    Row,
    SummaryTable,
    options_alike,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def _flow(row: Row) -> Iterator[tuple[str, Number]]:
    yield row["metric"], Number(row["value"], row["standard_error"])


def _flow_conditions(row: Row, settings: Mapping[str, object]) -> Conditions:
    decided_by = limits_of(row)
    if row["metric"] not in ("effective_rank", "participation_ratio"):
        return options_alike(settings, *decided_by)
    # The tokens that a rank is taken of bound it, and so do those of a sequence.
    decided_by.append("propagation.rank_tokens")
    return {"other-seq-len": row["seq_len"], **options_alike(settings, *decided_by)}


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                PROPAGATION.name,
                "depth",
                ("of", "token_set", "coordinates"),
                _flow,
                kept=lambda row: row["position_low"] is None,
                errors="standard",
                conditions=_flow_conditions,
            ),
        ),
        view=comparison_view,
        shown=(PROPAGATION.name,),
    )
