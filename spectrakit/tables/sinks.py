"""Sinks that hand on what they are given: to several others, or a part of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from spectrakit.tables.columns import TableSchema
    from spectrakit.tables.run import Sink


@dataclass(frozen=True)
class Tee:
    """A `Sink` that hands everything to several."""

    sinks: Sequence[Sink]

    def append(self, schema: TableSchema, table: pa.Table) -> None:
        """See `Sink.append`."""
        for sink in self.sinks:
            sink.append(schema, table)


@dataclass(frozen=True)
class Filtered:
    """A `Sink` that hands on the pieces that `wanted` says yes to, by table name and content."""

    sink: Sink
    wanted: Callable[[str, pa.Table], bool]

    def append(self, schema: TableSchema, table: pa.Table) -> None:
        """See `Sink.append`."""
        if self.wanted(schema.name, table):
            self.sink.append(schema, table)
