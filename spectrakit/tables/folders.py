"""The folder of a run: its lock, its temporary files, and errors of the disk in plain words."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from spectrakit.errors import OutputError
from spectrakit.wording import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

if sys.platform != "win32":
    import fcntl

MANIFEST = "run.json"

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_LOCK = ".lock"
_JOURNAL = ".commit"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LOCKS = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST}


def is_plain_name(name: str) -> bool:
    """Whether `name` is a visible file right in the folder: no path, no drive, no dots first."""
    return _PLAIN_NAME.fullmatch(name) is not None


def temporary(folder: Path, name: str) -> Path:
    """Where this process writes `name` until it is whole."""
    return folder / f".{name}.{os.getpid()}.tmp"


@contextmanager
def plain_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the file system under `folder` into an `OutputError` of one line."""
    try:
        yield
    except OSError as error:
        raise _output_error(folder, error) from error


def _output_error(folder: Path, error: OSError) -> OutputError:
    what = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _NO_SPACE:
        return OutputError(
            f"no space left for the results in {folder} ({what})",
            hint=f"free some space or choose another folder with {named('out')}",
        )
    if error.errno in _NOT_ALLOWED:
        return OutputError(
            f"the results cannot be written to {folder} ({what})",
            hint=f"choose a folder that you may write to with {named('out')}",
        )
    if error.errno in _NOT_A_FOLDER:
        return OutputError(
            f"{folder} is not a folder, or lies inside a file",
            hint=f"choose another folder with {named('out')}",
        )
    return OutputError(
        f"the results cannot be written to {folder} ({what})",
        hint=f"choose another folder with {named('out')}",
    )


def make_folder(folder: Path) -> list[Path]:
    """Make `folder` with its parents, and return those that were not there, innermost first."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except BaseException:
        remove_if_empty(new)
        raise
    return new


def remove_if_empty(folders: Iterable[Path]) -> None:
    """Remove the folders that nothing was written to, innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def sync(path: Path) -> None:
    """Ask the disk to keep what was written to this file, or the entries of this folder."""
    if path.is_dir() and sys.platform == "win32":
        return  # Windows cannot open a folder, and needs no such request
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(name: str) -> bool:
    """Whether it is a name that `temporary` gives."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove the temporary files of writers that died; the caller holds the folder's lock."""
    for path in folder.iterdir():
        if is_temporary(path.name):
            path.unlink(missing_ok=True)


def is_left(folder: Path) -> bool:
    """Whether a writer is at work in `folder`, or died there: its last step is to drop its lock."""
    return (folder / _LOCK).exists() or (folder / _JOURNAL).exists()


def tidy(folder: Path) -> None:
    """Remove what a writer that died left in `folder`: not a finished run, nor what no run wrote.

    A folder that is empty then goes. Raises OutputError where a writer is at work in it.
    """
    if not folder.is_dir():
        return
    with plain_errors(folder):
        lock = FolderLock(folder)
        lock.acquire()
        try:
            sweep(folder)
            journal = Journal(folder)
            if not (folder / MANIFEST).exists():
                for name in journal.read():
                    (folder / name).unlink(missing_ok=True)
            journal.close()
        finally:
            lock.release()
    remove_if_empty([folder])


class FolderLock:
    """Keeps a second writer out of a folder.

    The operating system drops the lock when its holder dies, however it dies, so a lock file that
    was left behind does not count. Where the file system has no locks (and on Windows) every
    writer gets one: the checksums in `run.json` still keep a reader from a mix of two runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _LOCK
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            OutputError: another writer is at work in the folder.
        """
        while self._descriptor is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._lock(descriptor)
                if self._is_current(descriptor):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"{os.getpid()}\n".encode())
                    self._descriptor = descriptor
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def release(self) -> None:
        """Drop the lock and its file, if it was taken."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = None

    def _lock(self, descriptor: int) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            raise OutputError(
                f"process {holder or 'unknown'} is writing to {self._folder}",
                hint=f"wait for it to finish or choose another folder with {named('out')}",
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def _is_current(self, descriptor: int) -> bool:
        """Whether the locked file still is the one in the folder: its last holder removed it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False


class Journal:
    """The files of earlier runs in a folder, remembered while a new run takes their place.

    A commit that dies half-way has removed `run.json`, the only list of the folder's files; with
    this one the next commit still knows which files to replace or remove.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _JOURNAL

    def write(self, names: Iterable[str]) -> None:
        """Remember `names`."""
        partial = temporary(self._folder, _JOURNAL)
        partial.write_text(json.dumps(sorted(names)), encoding="utf-8")
        sync(partial)
        partial.replace(self._path)

    def read(self) -> set[str]:
        """The names of an unfinished commit; empty after a finished one."""
        try:
            names = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return set()
        return {name for name in names if isinstance(name, str) and is_plain_name(name)}

    def close(self) -> None:
        """The commit is done."""
        self._path.unlink(missing_ok=True)
