"""How numbers of `kernel` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kernel.tables import DECAY_KERNEL, DECAY_KERNEL_SUMMARY
from spectrakit.analyses.kind import Compared, ComparedColumns
from spectrakit.display.numbers import humanise
from spectrakit.tables.summary_numbers import (
    Conditions,
    Number,
    Row,
    SummaryTable,
    in_gauge,
    of_a_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def _carried(row: Row) -> Iterator[tuple[str, Number]]:
    low, high = row["lag_low"], row["lag_high"]
    lags = f"lag {low}" if low == high else f"lags {low} to {high}"
    for name in ("mass", "kernel_mean"):
        yield f"{name} at {lags}", Number(row[name], None)
    yield f"log_decay_mean at {lags}", Number(row["log_decay_mean"], None, in_gauge(row))


_OF_KERNEL = ("mass", "lag_50", "lag_90", "first_token_share", "learned_sink_share")


def _reached(row: Row) -> Iterator[tuple[str, Number]]:
    for name in _OF_KERNEL:
        yield f"kernel {name}", Number(row[name], None)


def _kernel_conditions(_row: Row, settings: Mapping[str, object]) -> Conditions:
    # Longer sequences have more inputs to divide an output among, and further ones; weights mode
    # has none.
    return {"other-seq-len": settings.get("seq_len")}


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                DECAY_KERNEL.name,
                "layer",
                ("token_set",),
                _carried,
                kept=of_a_layer,
                errors="standard",
                conditions=_kernel_conditions,
            ),
            SummaryTable(
                DECAY_KERNEL_SUMMARY.name,
                "layer",
                ("token_set",),
                _reached,
                kept=of_a_layer,
                errors="standard",
                conditions=_kernel_conditions,
            ),
        ),
        columns=(
            ComparedColumns(
                headings={"mass at lag 0 all": "lag 0", "mass at lag 1 all": "lag 1"},
                text="{:.3g}".format,
                legend="|C A ... A B|, what inputs at a lag contribute to an output",
            ),
            ComparedColumns(
                headings={
                    "kernel lag_50 all": "half in",
                    "kernel lag_50 without_first": "half w/o",
                },
                text=humanise,
                legend="the lag within which half of what inputs contribute to an output lies, and "
                "without each sequence's first token",
            ),
            ComparedColumns(
                headings={"kernel first_token_share all": "1st token"},
                text="{:.1%}".format,
                legend="the share of what inputs contribute that each sequence's first token has",
            ),
        ),
    )
