"""Rows of a table in the order of the layers, whenever they were found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.tables.arrow_arrays import numpy_array

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from spectrakit.tables.columns import TableSchema
    from spectrakit.tables.run import Sink
else:
    np = lazy_import("numpy")
    pa = lazy_import("pyarrow")


class InLayerOrder:
    """A `Sink` that keeps the rows of some tables back until `flush`, and then sorts them.

    In data mode a layer whose A does not vary is written when it is first seen, the others when
    all tokens were: in a hybrid, the layers of a table would be in the order of their kinds.

    as_they_come: names of tables that are handed on at once, because they are in order already and
    may be large; None for all, as in weights mode. What has no `layer` column is handed on too.
    """

    def __init__(self, sink: Sink, as_they_come: frozenset[str] | None) -> None:
        self._sink = sink
        self._as_they_come = as_they_come
        self._kept: dict[str, tuple[TableSchema, list[pa.Table]]] = {}

    def append(self, schema: TableSchema, table: pa.Table) -> None:
        """See `Sink.append`."""
        at_once = self._as_they_come is None or schema.name in self._as_they_come
        if at_once or "layer" not in table.column_names:
            self._sink.append(schema, table)
        else:
            # Checked here, where an error is still that of the analysis that made the rows.
            self._kept.setdefault(schema.name, (schema, []))[1].append(schema.conform(table))

    def flush(self) -> None:
        """Hand on what was kept: rows of one layer in the order in which they came."""
        for schema, tables in self._kept.values():
            table = pa.concat_tables(tables)
            layers = numpy_array(table.column("layer"))
            self._sink.append(schema, table.take(np.argsort(layers, kind="stable")))
        self._kept = {}
