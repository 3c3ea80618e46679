"""How numbers of `lyapunov` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared, ComparedColumns
from spectrakit.analyses.lyapunov.exponents import layer_exponents
from spectrakit.analyses.lyapunov.tables import LYAPUNOV
from spectrakit.tables.summary_numbers import (
    Number,
    Row,
    SummaryTable,
    in_gauge,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


def _exponent_rows(lyapunov: pa.Table) -> Iterator[Row]:
    """A row for each layer."""
    for of in layer_exponents(lyapunov):
        yield of._asdict()


def _grown(row: Row) -> Iterator[tuple[str, Number]]:
    error = None if row["observed"] else 0.0
    for name in ("largest", "mean", "smallest"):
        yield f"{name}_exponent", Number(row[name], error, in_gauge(row))
    yield "erased_share", Number(row["erased"], error, in_gauge(row))


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                LYAPUNOV.name,
                "layer",
                (),
                _grown,
                kept=lambda _: True,
                errors="standard",
                rows=_exponent_rows,
            ),
        ),
        columns=(
            ComparedColumns(
                headings={"largest_exponent": "largest", "mean_exponent": "mean"},
                text="{:.3g}".format,
                legend="Lyapunov exponents of the product of transitions, per step",
            ),
        ),
    )
