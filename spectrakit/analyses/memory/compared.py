"""How numbers of `memory` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared, ComparedColumns
from spectrakit.analyses.memory.tables import MEMORY_SUMMARY
from spectrakit.display.numbers import humanise
from spectrakit.tables.summary_numbers import (
    Conditions,
    Number,
    Row,
    SummaryTable,
    of_a_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_REMEMBERED = (
    "rank", "capacity", "delay_50", "delay_90", "last_delay_0p5", "last_delay_0p1",
    "last_delay_0p01", "mean_delay", "key_kernel_rank",
)  # fmt: skip


def _remembered(row: Row) -> Iterator[tuple[str, Number]]:
    for name in _REMEMBERED:
        yield name, Number(row[name], None)
    # Of another horizon it would be another quantity.
    yield f"capacity_within_{row['horizon']}", Number(row["capacity_within"], None)


def _memory_conditions(row: Row, settings: Mapping[str, object]) -> Conditions:
    # Only of an infinite past does memory not end where the sequences or the horizon do.
    past = row["past"]
    return {
        "other-mode": row["mode"],
        "other-past": past,
        "other-seq-len": settings.get("seq_len") if past == "sequence" else None,
        "other-horizon": None if past == "infinite" else row["horizon"],
    }


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                MEMORY_SUMMARY.name,
                "layer",
                ("precision",),
                _remembered,
                kept=of_a_layer,
                errors="bound",
                conditions=_memory_conditions,
            ),
        ),
        columns=(
            ComparedColumns(
                headings={"delay_50 exact": "half by", "delay_90 exact": "90% by"},
                text=humanise,
                legend="memory of exact states: the delays up to which half and 90% of the rank "
                "lie",
            ),
        ),
    )
