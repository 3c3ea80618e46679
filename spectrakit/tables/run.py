"""A finished run, and where analyses put their tables while it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from spectrakit._lazy import lazy_import
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.tables.arrow_arrays import repeated
from spectrakit.tables.columns import IDENTITY, TableSchema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pyarrow as pa

    from spectrakit.tables.manifest import Manifest, Recorded
else:
    pa = lazy_import("pyarrow")


@dataclass(frozen=True)
class Run:
    """The tables of one analysed model; `folder` is None for a run that lives in memory."""

    folder: Path | None
    manifest: Manifest = field(repr=False)
    _tables: Mapping[str, pa.Table] = field(repr=False)

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(self._tables)

    def table(self, name: str) -> pa.Table:
        """One table, `model_id` and `revision` first.

        Raises:
            UsageError: the run has no such table.
            MalformedError: its file is damaged, or changed since the run was opened.
        """
        if name not in self._tables:
            raise UsageError(
                f"the run has no table {name!r}", hint=f"its tables are {', '.join(self.tables)}"
            )
        return self._tables[name]


class Sink(Protocol):
    """Where an analysis puts its tables, piece by piece."""

    def append(self, schema: TableSchema, table: pa.Table) -> None:
        """Add rows to the table that `schema` describes (see `TableSchema.table`).

        Raises:
            AnalysisError: the rows do not fit the schema.
            OutputError: they cannot be written.
        """
        ...


class MemorySink:
    """A `Sink` that keeps the tables in memory, for the Python API."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._schemas = SchemaBook()
        self._pieces: dict[str, list[pa.Table]] = {}

    def append(self, schema: TableSchema, table: pa.Table) -> None:
        """See `Sink.append`."""
        self._schemas.enter(schema)
        self._pieces.setdefault(schema.name, []).append(identified(schema, table, self._manifest))

    def record(self, found: Recorded) -> None:
        """Put into the manifest what was known only at the end."""
        self._manifest = found.into(self._manifest)

    @property
    def run(self) -> Run:
        """What was appended so far, as a run."""
        tables = {name: pa.concat_tables(pieces) for name, pieces in self._pieces.items()}
        return Run(None, self._manifest, tables)


class SchemaBook:
    """The schemas seen so far: one name stands for one schema in a run."""

    def __init__(self, schemas: Iterable[TableSchema] = ()) -> None:
        self._by_name = {schema.name: schema for schema in schemas}

    def enter(self, schema: TableSchema) -> None:
        """Note `schema`; two tables of one name and different columns cannot share a run.

        Raises:
            AnalysisError: the name stands for another schema already.
        """
        if self._by_name.setdefault(schema.name, schema) != schema:
            raise AnalysisError(
                f"two different tables are both called {schema.name!r}",
                hint="rename the table of one of the two analyses",
            )


def stored_schema(schema: TableSchema, manifest: Manifest) -> pa.Schema:
    """The Arrow schema of a run's table, with the run's provenance in its metadata."""
    return schema.arrow.with_metadata(manifest.file_metadata())


def identified(schema: TableSchema, table: pa.Table, manifest: Manifest) -> pa.Table:
    """`table`, checked against `schema`, with the run's identity in front: as it is stored."""
    table = schema.conform(table)
    own = IDENTITY if schema.of_one_model else ()  # else its rows have theirs
    identity = [
        repeated(getattr(manifest, column.name), column.type, table.num_rows) for column in own
    ]
    return pa.table([*identity, *table.columns], schema=stored_schema(schema, manifest))
