"""Writes a run so that a reader sees all of it or none of it.

Every file is written beside its place under a hidden name, closed, synced to disk, opened again
and checked. Only when all are whole does the commit remove the old `run.json`, move the files to
their places, and write the new `run.json` last. Whatever happens before the commit, nothing
visible has changed; whatever happens within it, there is no `run.json`, and so no run.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from spectrakit.errors import OutputError, SpectrakitError
from spectrakit.tables.folders import (
    MANIFEST,
    FolderLock,
    Journal,
    is_plain_name,
    make_folder,
    plain_errors,
    remove_if_empty,
    sweep,
    sync,
    temporary,
)
from spectrakit.tables.manifest import Manifest, Recorded, WrittenFile
from spectrakit.tables.parquet import TableFile
from spectrakit.tables.reader import read_manifest, read_run
from spectrakit.tables.run import Run, SchemaBook, identified, stored_schema
from spectrakit.wording import named

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from spectrakit.tables.columns import TableSchema


class RunWriter:
    """A `Sink` that writes a run folder; a context manager that commits when its block ends well.

        with RunWriter(folder, manifest) as writer:
            writer.append(SPECTRUM, SPECTRUM.table({...}))
            writer.add_file("spectrum.png", png)
        writer.run.table("spectrum")

    Raises:
        OutputError: no space, not a folder, no permission, another writer in the folder, or a file
            in the place of one of this run's that no run wrote; the folder is then as it was.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = Path(folder)
        self._manifest = manifest
        self._lock = FolderLock(self._folder)
        self._schemas = SchemaBook()
        self._tables: dict[str, TableFile] = {}
        self._files: dict[str, WrittenFile] = {}
        self._new_folders: list[Path] = []
        #: Files of earlier runs, whose place this one takes; None where that cannot be told.
        self._of_runs: set[str] | None = set()

    def __enter__(self) -> Self:
        with plain_errors(self._folder):
            self._new_folders = make_folder(self._folder)
            try:
                self._lock.acquire()
                sweep(self._folder)
                self._of_runs = _of_runs(self._folder)
            except BaseException:
                self._lock.release()
                remove_if_empty(self._new_folders)
                raise
        return self

    def append(self, schema: TableSchema, table: pa.Table) -> None:
        """See `Sink.append`. Memory is bounded by this piece and one row group."""
        self._schemas.enter(schema)
        table = identified(schema, table, self._manifest)
        with plain_errors(self._folder):
            if schema.name not in self._tables:
                self._refuse_strangers(f"{schema.name}.parquet")
                stored = stored_schema(schema, self._manifest)
                self._tables[schema.name] = TableFile(self._folder, schema.name, stored)
            self._tables[schema.name].append(table)

    def add_file(self, name: str, content: bytes) -> None:
        """Add a picture or another file under `name`, right in the folder.

        Raises:
            ValueError: `name` is a path, hidden, or a name that the run itself uses.
            OutputError: it cannot be written.
        """
        if not is_plain_name(name) or name == MANIFEST or name.endswith(".parquet"):
            raise ValueError(f"not a name for a file of a run: {name!r}")
        self._refuse_strangers(name)
        with plain_errors(self._folder):
            self._write(name, content)
        self._files[name] = WrittenFile(name, len(content), hashlib.sha256(content).hexdigest())

    def record(self, found: Recorded) -> None:
        """Put into `run.json` what was known only at the end."""
        self._manifest = found.into(self._manifest)

    @property
    def run(self) -> Run:
        """The run in the folder, once the block has ended."""
        return read_run(self._folder)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with plain_errors(self._folder):
                    self._commit()
        finally:
            self._clean_up()

    def _refuse_strangers(self, name: str) -> None:
        """Raise OutputError where `name` is a file that no run wrote."""
        path = self._folder / name
        if path.exists() and self._of_runs is not None and name not in self._of_runs:
            message = f"{path} is there already, and no run wrote it"
            raise OutputError(message, hint=f"choose another folder with {named('out')}")

    def _write(self, name: str, content: bytes) -> None:
        path = temporary(self._folder, name)
        path.write_bytes(content)
        sync(path)

    def _commit(self) -> None:
        tables = {name: table.finish() for name, table in self._tables.items()}
        manifest = replace(self._manifest, tables=tables, files=self._files)
        self._write(MANIFEST, manifest.to_json().encode())
        names = {written.file for written in (*tables.values(), *self._files.values())}
        try:
            self._swap(names)
        except KeyboardInterrupt:
            self._swap(names)  # a few renames: finished before the interrupt goes on
            raise

    def _swap(self, names: set[str]) -> None:
        """Put the new files in the place of the old; can be taken up again where it stopped."""
        journal = Journal(self._folder)
        if temporary(self._folder, MANIFEST).exists():
            old = journal.read() | _listed(self._folder)
            journal.write(old | names)
            (self._folder / MANIFEST).unlink(missing_ok=True)
            sync(self._folder)
            for name in sorted(names):
                _move(temporary(self._folder, name), self._folder / name)
            for name in old - names:
                (self._folder / name).unlink(missing_ok=True)
            sync(self._folder)
            _move(temporary(self._folder, MANIFEST), self._folder / MANIFEST)
        sync(self._folder)
        journal.close()

    def _clean_up(self) -> None:
        """Remove what did not become part of a run; nothing, after a commit."""
        for table in self._tables.values():
            table.abandon()
        with suppress(OSError):
            sweep(self._folder)
        self._lock.release()
        remove_if_empty(self._new_folders)


def _of_runs(folder: Path) -> set[str] | None:
    """The files of earlier runs, finished or not; None where `run.json` is damaged."""
    found = Journal(folder).read() | _listed(folder)
    return found if found or not (folder / MANIFEST).exists() else None


def _listed(folder: Path) -> set[str]:
    """The files of the run that is in the folder now; none if it is not readable as one."""
    try:
        manifest = read_manifest(folder)
    except SpectrakitError:
        return set()
    files = (*manifest.tables.values(), *manifest.files.values())
    return {written.file for written in files if is_plain_name(written.file)}


def _move(temporary_path: Path, path: Path) -> None:
    with suppress(FileNotFoundError):  # moved already, before an interrupt
        temporary_path.replace(path)
