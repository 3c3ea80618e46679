"""One table in one Parquet file: written piece by piece, checked, and read back."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.errors import MalformedError, OutputError
from spectrakit.tables.folders import sync, temporary
from spectrakit.tables.manifest import WrittenFile

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = lazy_import("pyarrow")
    pq = lazy_import("pyarrow.parquet")

RERUN = "run the analysis again"

_ROWS_IN_A_GROUP = 1 << 14
"""Small pieces (a summary row per layer) are gathered up to this many rows before they go out."""


class TableFile:
    """A Parquet file under its temporary name; memory holds one piece and one row group."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._file_name = f"{name}.parquet"
        self._path = temporary(folder, self._file_name)
        self._schema = schema
        self._rows = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._file = pa.OSFile(os.fsencode(self._path), "wb")  # a name need not be UTF-8
        self._writer = _parquet_writer(self._file, schema)

    def append(self, table: pa.Table) -> None:
        """Add rows."""
        self._pending.append(table)
        self._pending_rows += table.num_rows
        if self._pending_rows >= _ROWS_IN_A_GROUP:
            self._flush()

    def finish(self) -> WrittenFile:
        """Close the file, see it safely on disk, and check that it reads back.

        Raises:
            OutputError: what is on the disk is not what was written.
        """
        self._flush()
        self._writer.close()
        self._file.close()
        sync(self._path)
        self._check()
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return WrittenFile(self._file_name, self._path.stat().st_size, digest, self._rows)

    def abandon(self) -> None:
        """Let go of the file; its half-written content is of no use."""
        self._writer.is_open = False  # or its finaliser would try to write a footer
        with suppress(OSError):
            self._file.close()

    def _flush(self) -> None:
        if self._pending_rows:
            self._writer.write_table(pa.concat_tables(self._pending))
            self._rows += self._pending_rows
        self._pending, self._pending_rows = [], 0

    def _check(self) -> None:
        try:
            with (
                pa.OSFile(os.fsencode(self._path), "rb") as file,
                pq.ParquetFile(file) as written,
            ):
                whole = written.metadata.num_rows == self._rows and written.schema_arrow.equals(
                    self._schema, check_metadata=True
                )
        except pa.ArrowException as error:
            raise OutputError(f"{self._file_name} does not read back: {error}") from error
        if not whole:
            raise OutputError(f"{self._file_name} does not read back as it was written")


def read_table(folder: Path, written: WrittenFile) -> pa.Table:
    """Read a table of a finished run, after checking that the file is still the one written.

    Raises:
        MalformedError: the file is gone, or is not what `written` says.
    """
    path = folder / written.file
    try:
        content = _content(path)
        if hashlib.sha256(content).hexdigest() != written.sha256:
            raise MalformedError(f"{path} is not the file that the run wrote", hint=RERUN)
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            return file.read()
    except (OSError, pa.ArrowException) as error:
        raise MalformedError(f"{path} cannot be read: {error}", hint=RERUN) from error


def _content(path: Path) -> pa.Buffer:
    with pa.OSFile(os.fsencode(path), "rb") as file:
        return file.read_buffer()


def _parquet_writer(file: pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    """Floats have no repeats worth a dictionary, and compress better with their bytes sorted.

    Statistics serve queries for a layer or a head; for other columns they only cost time.
    """
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    others = [field.name for field in schema if field.name not in floats]
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=others,
        use_byte_stream_split=floats,
        write_statistics=integers,
    )
