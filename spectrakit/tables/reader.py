"""Opens a run folder, and refuses one that is not whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit.errors import MalformedError, UsageError
from spectrakit.tables.folders import MANIFEST, is_plain_name
from spectrakit.tables.manifest import Manifest, WrittenFile
from spectrakit.tables.migrations import with_todays_columns
from spectrakit.tables.parquet import RERUN, read_table
from spectrakit.tables.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


def read_run(folder: Path) -> Run:
    """Open the finished run in `folder`; a table is read, and its checksum checked, when asked for.

    Raises:
        UsageError: no such folder, or no run in it.
        MalformedError: the run is damaged, or was written by a newer spectrakit.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for written in (*manifest.tables.values(), *manifest.files.values()):
        _check_file(folder, written)
    return Run(folder, manifest, _Files(folder, manifest.tables))


def read_manifest(folder: Path) -> Manifest:
    """Read `run.json` alone; see `read_run` for the errors."""
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"no finished run in {folder} ({MANIFEST} is not there)",
            hint="give the folder that `spectrakit analyze` named, or run it again",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedError(f"{path} cannot be read: {error}", hint=RERUN) from error
    try:
        return Manifest.from_json(text)
    except MalformedError as error:
        raise MalformedError(f"{path}: {error.message}", hint=error.hint or RERUN) from error


def _check_file(folder: Path, written: WrittenFile) -> None:
    if not is_plain_name(written.file):
        raise MalformedError(f"{folder / MANIFEST} names a file outside the folder: {written.file}")
    path = folder / written.file
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MalformedError(f"{path} of the run is not there", hint=RERUN) from error
    if size != written.bytes:
        raise MalformedError(
            f"{path} holds {size} bytes, the run wrote {written.bytes}", hint=RERUN
        )


class _Files(Mapping[str, "pa.Table"]):
    """The tables of a folder, each read when it is asked for."""

    def __init__(self, folder: Path, written: Mapping[str, WrittenFile]) -> None:
        self._folder = folder
        self._written = written

    def __getitem__(self, name: str) -> pa.Table:
        return with_todays_columns(name, read_table(self._folder, self._written[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._written)

    def __len__(self) -> int:
        return len(self._written)

    def __contains__(self, name: object) -> bool:
        return name in self._written
