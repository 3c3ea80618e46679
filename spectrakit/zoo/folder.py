"""The folder of a batch: what is where, and what was not written by one."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from spectrakit.errors import MalformedError, OutputError, UsageError
from spectrakit.tables.folders import (
    FolderLock,
    make_folder,
    plain_errors,
    sweep,
    sync,
    temporary,
)
from spectrakit.wording import named
from spectrakit.zoo.runs import finished_run

#: The file that says so, and the version of what it stands for.
_MARK, _FORMAT = "batch.json", 1


class BatchFolder:
    """Paths in the folder of a batch.

    runs/NAME: the run of an entry, as `spectrakit analyze` writes it. stale/NAME: one that is of
    other settings than those that failed since. journal: see `spectrakit.zoo.journal`. summary:
    what is known of all models, and the leaderboard.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.runs, self.stale = self.path / "runs", self.path / "stale"
        self.journal, self.claims = self.path / "journal", self.path / ".claims"
        self.summary = self.path / "summary"

    def check(self) -> bool:
        """Whether there is a batch; False where the folder is new or empty.

        Raises UsageError where something else is in the folder, or a newer spectrakit's batch;
        MalformedError where its mark cannot be read.
        """
        mark = self.path / _MARK
        with plain_errors(self.path):
            if not self.path.exists():
                return False
            if not self.path.is_dir() or (not mark.exists() and any(self.path.iterdir())):
                message = f"{self.path} is there already, and is not the folder of a batch"
                raise UsageError(message, hint=f"another folder with {named('out')}")
            if not mark.exists():
                return False
        found = _read_mark(mark)
        if found > _FORMAT:
            message = f"{self.path} was written by a newer spectrakit (format {found})"
            raise UsageError(message, hint="pip install --upgrade spectrakit")
        return True

    def require(self) -> None:
        """Raise UsageError where there is no batch in it."""
        if not (self.path / _MARK).is_file() or not self.check():
            message = f"there is no batch in {self.path}"
            raise UsageError(message, hint="spectrakit batch LIST --out FOLDER makes one")

    def make(self) -> None:
        """Make it the folder of a batch, if it is not one. Raises OutputError."""
        with plain_errors(self.path):
            make_folder(self.runs)
            mark = self.path / _MARK
            if not mark.exists():
                partial = temporary(self.path, _MARK)
                partial.write_text(json.dumps({"format": _FORMAT, "id": secrets.token_hex(8)}))
                sync(partial)
                partial.replace(mark)

    def finished(self, name: str, key: str | None = None) -> dict[str, Any] | None:
        """The record of an entry's run, where it is whole; see `finished_run`."""
        return finished_run(self.runs / name, key)

    def clear(self, name: str) -> None:
        """Remove what an ended process left half-written of an entry's run; its last run stays."""
        folder = self.runs / name
        lock = FolderLock(folder)
        with suppress(OSError, OutputError):  # of another process, which writes there now
            if folder.is_dir():
                lock.acquire()
                sweep(folder)
                lock.release()
                folder.rmdir()

    def set_aside(self, name: str) -> None:
        """Take an out-of-date run out of the dataset, in the place of one that was before."""
        if (self.runs / name).exists():
            with plain_errors(self.path):
                self.stale.mkdir(exist_ok=True)
                number, aside = 1, self.stale / name
                while aside.exists():
                    number += 1
                    aside = self.stale / f"{name}.{number}"
                (self.runs / name).rename(aside)

    def names(self) -> list[str]:
        """Of the runs that are there, in order."""
        if not self.runs.is_dir():
            return []
        return sorted(path.name for path in self.runs.iterdir() if not path.name.startswith("."))


def _read_mark(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MalformedError(f"{path} cannot be read: {error}") from error
