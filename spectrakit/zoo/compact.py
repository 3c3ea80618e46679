"""One file a table for a zoo of thousands of runs: `D/compact/TABLE.parquet`.

Opening a file costs more than reading a small one, so that queries over ten thousand runs wait for
their footers. The compact files have the same rows, those of a run after each other and runs in
order of name, with the run's name in front as column `run`.

Rows are copied piece by piece: memory holds one row group, however many runs there are. Each file
is written beside its place and checked, and takes its place when all are whole. `compact.json`
says which files are compact's own, and of which runs; a file that is not in it is left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.errors import MalformedError, OutputError
from spectrakit.progress import Progress, Silent, Task
from spectrakit.tables.arrow_arrays import arrow_type, repeated
from spectrakit.tables.folders import (
    FolderLock,
    is_plain_name,
    make_folder,
    plain_errors,
    remove_if_empty,
    sweep,
    sync,
    temporary,
)
from spectrakit.tables.migrations import with_todays_columns
from spectrakit.tables.parquet import RERUN, TableFile
from spectrakit.zoo.results import Results, unified_schema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = lazy_import("pyarrow")
    pq = lazy_import("pyarrow.parquet")

COMPACT = "compact"
"""The folder in a batch's folder that the compact files are in."""

_LEDGER = "compact.json"
_VERSION = 1
_ROWS = 1 << 16
"""Rows that are read at once."""


@dataclass(frozen=True)
class _Source:
    """A run's file of a table, and the SHA-256 that the run recorded of it."""

    run: str
    file: Path
    sha256: str


#: By table, in order of the runs' names.
_Sources: TypeAlias = "Mapping[str, list[_Source]]"


@dataclass(frozen=True)
class _Compacted:
    """A compact file: of which sources (a digest), its size and SHA-256.

    sha256: also of the file whose place it takes, until that is done.
    """

    sources: str
    bytes: int
    sha256: list[str] = field(default_factory=list)


def compact(folder: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Write the tables of all finished runs in `folder` as one file each; by the tables' names.

    A table of which nothing is new keeps its file, untouched. The file of a table that no run has
    any more is removed.

    Raises:
        OutputError: it cannot be written, or a file is in the way that compact did not write.
        MalformedError: two runs have a column of one name in two types, or a file is damaged.
    """
    sources = _sources(Results(folder))
    where = folder / COMPACT
    found = {table: where / f"{table}.parquet" for table in sources}
    ledger = _ledger(where)
    stale = {table for table in sources if not _is_current(where, table, sources, ledger)}
    gone = ledger.keys() - sources.keys()
    if not stale and not gone:
        return found
    with _writing(where):
        ledger = _ledger(where)  # another may have been at work until now
        for table in sorted(stale | gone):
            _refuse_foreign(where, table, ledger)
        written = _write(where, {name: sources[name] for name in sorted(stale)}, progress)
        _swap(where, ledger, written, gone)
    return found


def _sources(results: Results) -> dict[str, list[_Source]]:
    found: dict[str, list[_Source]] = {}
    for name, path, manifest in results.runs():
        for table, written in manifest.tables.items():
            source = _Source(name, path / written.file, written.sha256)
            found.setdefault(table, []).append(source)
    return found


def _digest(sources: list[_Source]) -> str:
    told = [_VERSION, *([source.run, source.sha256] for source in sources)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _is_current(
    where: Path, table: str, sources: _Sources, ledger: Mapping[str, _Compacted]
) -> bool:
    """Whether the file of `table` has the rows of these sources already."""
    known = ledger.get(table)
    path = where / f"{table}.parquet"
    if known is None or len(known.sha256) != 1 or not path.is_file():
        return False
    return known.sources == _digest(sources[table]) and path.stat().st_size == known.bytes


# ---- what is written ---------------------------------------------------------------------------


def _write(where: Path, sources: _Sources, progress: Progress | None) -> dict[str, _Compacted]:
    """Write the tables under their temporary names; what was written, by table."""
    written = {}
    total = sum(map(len, sources.values()))
    with (progress or Silent()).task("compacting", total=total, unit="files") as task:
        for table, parts in sources.items():
            written[table] = _write_table(where, table, parts, task)
    return written


def _write_table(where: Path, table: str, sources: list[_Source], task: Task) -> _Compacted:
    schema = unified_schema(source.file for source in sources)
    columns = with_todays_columns(table, schema.empty_table()).schema
    stored = pa.schema([_RUN(), *columns])
    file = TableFile(where, table, stored)
    try:
        for source in sources:
            for piece in _pieces(source.file, schema):
                names = repeated(source.run, "string", piece.num_rows)
                file.append(pa.table([names, *piece.columns], schema=stored))
            task.advance(1)
        done = file.finish()
    finally:
        file.abandon()
    return _Compacted(_digest(sources), done.bytes, [done.sha256])


def _RUN() -> pa.Field:  # noqa: N802  (a constant, but for the import of Arrow)
    meaning = "The run: the name of its folder."
    return pa.field("run", arrow_type("string"), nullable=False, metadata={"meaning": meaning})


def _pieces(file: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of a run's file with the columns of all runs, a few at a time."""
    try:
        with pa.OSFile(os.fsencode(file), "rb") as opened, pq.ParquetFile(opened) as rows:
            for batch in rows.iter_batches(_ROWS):
                columns = {name: batch.column(name) for name in batch.schema.names}
                yield pa.table(
                    [
                        columns.get(each.name, pa.nulls(batch.num_rows, each.type))
                        for each in schema
                    ],
                    schema=schema,
                )
    except (OSError, pa.ArrowException) as error:
        raise MalformedError(f"{file} cannot be read: {error}", hint=RERUN) from error


# ---- whose the files are -----------------------------------------------------------------------


@contextmanager
def _writing(where: Path) -> Iterator[None]:
    """Alone in the folder, which is made; nothing half-written stays in it."""
    lock = FolderLock(where)
    with plain_errors(where):
        new = make_folder(where)
        try:
            lock.acquire()
            sweep(where)
            yield
        finally:
            with suppress(OSError):
                sweep(where)
            lock.release()
            remove_if_empty(new)


def _refuse_foreign(where: Path, table: str, ledger: Mapping[str, _Compacted]) -> None:
    """Raise OutputError where the place of a table is taken by a file that compact did not write.

    Such a file of a table that no run has is not in the way: see `_swap`.
    """
    path = where / f"{table}.parquet"
    if path.exists() and not _is_own(path, ledger.get(table)):
        raise OutputError(
            f"{path} is there already, and is not as `batch compact` wrote it",
            hint=f"move it out of {where} and run the command again",
        )


def _is_own(path: Path, known: _Compacted | None) -> bool:
    if known is None or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() in known.sha256


def _swap(
    where: Path,
    ledger: Mapping[str, _Compacted],
    written: Mapping[str, _Compacted],
    gone: set[str],
) -> None:
    """Put the new files in their places; whenever this stops, the ledger knows both old and new."""
    both = dict(ledger)
    for table, new in written.items():
        known = ledger[table].sha256 if table in ledger else []
        both[table] = _Compacted(new.sources, new.bytes, [*new.sha256, *known])
    _write_ledger(where, both)
    for table in written:
        name = f"{table}.parquet"
        temporary(where, name).replace(where / name)
    for table in gone:
        (where / f"{table}.parquet").unlink(missing_ok=True)
    sync(where)
    done = {**both, **written}
    _write_ledger(where, {table: done[table] for table in done.keys() - gone})


def _ledger(where: Path) -> dict[str, _Compacted]:
    """What compact wrote; nothing, where that cannot be read."""
    try:
        record = json.loads((where / _LEDGER).read_text(encoding="utf-8"))
        return {
            table: _Compacted(**entry)
            for table, entry in record["tables"].items()
            if is_plain_name(table)
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _write_ledger(where: Path, ledger: Mapping[str, _Compacted]) -> None:
    record: dict[str, Any] = {
        "version": _VERSION,
        "tables": {table: asdict(ledger[table]) for table in sorted(ledger)},
    }
    partial = temporary(where, _LEDGER)
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sync(partial)
    partial.replace(where / _LEDGER)
    sync(where)
