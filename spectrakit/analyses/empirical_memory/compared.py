"""How numbers of `empirical_memory` are compared between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.empirical_memory.driven import drive
from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY
from spectrakit.analyses.kind import Compared
from spectrakit.tables.summary_numbers import (
    Number,
    Row,
    SummaryTable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa


def _driven(row: Row) -> Iterator[tuple[str, Number]]:
    yield f"value at delay {row['delay']}", Number(row["value"], None)


def _driven_block(row: Row) -> Iterator[tuple[str, Number]]:
    yield f"value behind the driven block at delay {row['delay']}", Number(row["value"], None)


def _of_driven_model(empirical_memory: pa.Table) -> Iterable[Row]:
    """What was read at every depth of a model that was driven where its first block begins."""
    rows: list[Row] = empirical_memory.to_pylist()
    return rows if drive(rows) == "model" else ()


def _of_driven_blocks(empirical_memory: pa.Table) -> Iterable[Row]:
    """What was read behind each block that was driven; `driven_depth` is the block, from 0."""
    rows: list[Row] = empirical_memory.to_pylist()
    if drive(rows) != "blocks":
        return ()
    return [row for row in rows if row["depth"] == row["driven_depth"] + 1]


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                EMPIRICAL_MEMORY.name,
                "depth",
                (),
                _driven,
                kept=lambda _: True,
                errors="standard",
                rows=_of_driven_model,
            ),
            SummaryTable(
                EMPIRICAL_MEMORY.name,
                "driven_depth",
                (),
                _driven_block,
                kept=lambda _: True,
                errors="standard",
                rows=_of_driven_blocks,
            ),
            SummaryTable(
                EMPIRICAL_MEMORY.name,
                "layer",
                (),
                _driven,
                kept=lambda row: row["layer"] is not None,
                errors="standard",
            ),
        )
    )
