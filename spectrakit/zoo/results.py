"""The finished runs of a batch's folder, and their tables as one dataset.

    D/runs/NAME/run.json, TABLE.parquet    one folder a run, NAME unique

A run counts when its `run.json` can be read and every file it names is there whole: of the size
that it says, and for a table with Parquet's mark at both ends. Nothing else of a table is read to
find that out, so ten thousand runs are listed in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.errors import MalformedError, SpectrakitError, UsageError
from spectrakit.tables.parquet import RERUN
from spectrakit.tables.reader import read_manifest
from spectrakit.wording import did_you_mean
from spectrakit.zoo.runs import whole_record

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet as pq

    from spectrakit.tables.manifest import Manifest
else:
    pa = lazy_import("pyarrow")
    pq = lazy_import("pyarrow.parquet")

RUNS = "runs"
"""The folder in a batch's folder that its runs are in."""


@dataclass(frozen=True)
class Results:
    """What the runs of a batch have written into `folder`. It is read anew at every call."""

    folder: Path

    def runs(self) -> Iterator[tuple[str, Path, Manifest]]:
        """Name, folder and record of every finished run whose files are whole, in order of name.

        One record is in memory at a time.
        """
        for name in _names(self.folder / RUNS):
            path = self.folder / RUNS / name
            manifest = _whole(path)
            if manifest is not None:
                yield name, path, manifest

    def tables(self) -> list[str]:
        """The names of all tables that some run has, sorted."""
        return sorted({table for _, _, manifest in self.runs() for table in manifest.tables})

    def files(self, table: str) -> list[Path]:
        """The file of `table` in every run that has one, in order of the runs' names."""
        return [
            path / manifest.tables[table].file
            for _, path, manifest in self.runs()
            if table in manifest.tables
        ]

    def dataset(self, table: str) -> pyarrow.dataset.Dataset:
        """All rows of `table`, to be scanned, filtered or joined without reading them at once.

        A column that only some runs have is null in the others.

        Raises:
            UsageError: no run has this table.
            MalformedError: two runs have a column of one name in two types, or a file is damaged.
        """
        import pyarrow.dataset

        files = self.files(table)
        if not files:
            raise self._no_such_table(table)
        schema = unified_schema(files)
        return pyarrow.dataset.dataset(list(map(os.fspath, files)), schema=schema, format="parquet")

    def _no_such_table(self, table: str) -> UsageError:
        known = self.tables()
        hint = did_you_mean(table, known) or f"its tables are {', '.join(known)}"
        message = f"no finished run in {self.folder / RUNS} has a table {table!r}"
        return UsageError(message, hint=hint if known else None)


def unified_schema(files: Iterable[Path]) -> pa.Schema:
    """The columns of all `files`, in the order in which they first occur; footers alone are read.

    A column that a file lacks may be null. What a file says of its own run is left out.

    Raises:
        MalformedError: a column is of two types, or a file is damaged.
    """
    whole: pa.Schema | None = None
    known: set[pa.Schema] = set()
    for file in files:
        schema = _schema(file)
        if schema in known:
            continue
        known.add(schema)
        whole = schema if whole is None else _unified(whole, schema, file)
    if whole is None:
        raise ValueError("no files")
    return whole


def _schema(file: Path) -> pa.Schema:
    try:
        with pa.OSFile(os.fsencode(file), "rb") as opened:
            return pq.read_schema(opened).remove_metadata()
    except (OSError, pa.ArrowException) as error:
        raise MalformedError(f"{file} cannot be read: {error}", hint=RERUN) from error


def _unified(whole: pa.Schema, schema: pa.Schema, file: Path) -> pa.Schema:
    for field in schema:
        if field.name in whole.names and whole.field(field.name).type != field.type:
            other = whole.field(field.name).type
            raise MalformedError(
                f"{file} has {field.type} in column {field.name!r}, other runs have {other}",
                hint="analyse the older of these runs again: they are of two versions of a plugin",
            )
    lacked = set(whole.names) ^ set(schema.names)
    fields = [*whole, *(field for field in schema if field.name not in whole.names)]
    nullable = {field.name for each in (whole, schema) for field in each if field.nullable}
    return pa.schema([field.with_nullable(field.name in lacked | nullable) for field in fields])


def _names(folder: Path) -> list[str]:
    """The folders in `folder` that may be runs; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            found = [each.name for each in entries if each.is_dir() and _is_name(each.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found)


def _is_name(name: str) -> bool:
    """Hidden folders are unfinished work; tables hold text, which a name need not be."""
    return not name.startswith(".") and name.isprintable()


def _whole(path: Path) -> Manifest | None:
    """The record of the run in `path`; None where it is not finished, or not whole."""
    if whole_record(path) is None:
        return None
    try:
        return read_manifest(path)
    except (SpectrakitError, RecursionError):
        return None
