"""Tables of a run that grow: kept as rows, written whole and at once, readable at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.errors import MalformedError
from spectrakit.tables.folders import plain_errors, temporary
from spectrakit.tables.parquet import TableFile
from spectrakit.tables.run import identified

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from spectrakit.tables.columns import TableSchema
    from spectrakit.tables.manifest import Manifest
else:
    pa = lazy_import("pyarrow")
    pq = lazy_import("pyarrow.parquet")


class Record:
    """One table of a run."""

    def __init__(self, schema: TableSchema, identity: Manifest) -> None:
        self.schema = schema
        self._identity = identity
        self._parts: list[pa.Table] = []
        self._rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row; columns that it leaves out are null."""
        self._rows.append(row)

    def extend(self, table: pa.Table) -> None:
        """Add rows that are a table already."""
        self._gather()
        self._parts.append(identified(self.schema, table, self._identity))

    @property
    def table(self) -> pa.Table:
        """All rows so far."""
        self._gather()
        if not self._parts:
            return self._empty()
        whole: pa.Table = pa.concat_tables(self._parts)
        self._parts = [whole.combine_chunks()]
        return self._parts[0]

    def write(self, folder: Path) -> None:
        """Put the table into the folder, in the place of an older one. Raises OutputError."""
        table = self.table
        with plain_errors(folder):
            file = TableFile(folder, self.schema.name, table.schema)
            try:
                file.append(table)
                file.finish()
            except BaseException:
                file.abandon()
                temporary(folder, f"{self.schema.name}.parquet").unlink(missing_ok=True)
                raise
            temporary(folder, f"{self.schema.name}.parquet").replace(self.path(folder))

    def take_up(self, folder: Path, rows: int) -> None:
        """Take the first `rows` over from the folder: what was there when a checkpoint was written.

        Raises MalformedError where the file there is no such table, or has fewer.
        """
        path = self.path(folder)
        self._rows, self._parts = [], []
        if rows == 0:
            return
        try:
            stored = pq.read_table(path, partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise MalformedError(f"{path} cannot be read: {error}".splitlines()[0]) from error
        own = self._empty().schema
        if not stored.schema.equals(own) or stored.num_rows < rows:
            message = f"{path} is not the table that this run wrote: {stored.num_rows} rows"
            raise MalformedError(message, hint="the file of a copy of the folder")
        self._parts = [stored.slice(0, rows).replace_schema_metadata(own.metadata)]

    def path(self, folder: Path) -> Path:
        """Where the table is in a folder."""
        return folder / f"{self.schema.name}.parquet"

    def _empty(self) -> pa.Table:
        return identified(self.schema, self.schema.table({}, rows=0), self._identity)

    def _gather(self) -> None:
        if self._rows:
            names = [column.name for column in self.schema.columns]
            columns: dict[str, Sequence[Any]] = {
                name: [row.get(name) for row in self._rows] for name in names
            }
            table = self.schema.table(columns)
            self._rows = []
            self._parts.append(identified(self.schema, table, self._identity))
