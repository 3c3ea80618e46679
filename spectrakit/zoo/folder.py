"""The folder of a batch: what is where, and what was not written by one."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

from spectrakit.errors import MalformedError, OutputError, UsageError
from spectrakit.tables.folders import (
    MANIFEST,
    is_left,
    is_temporary,
    make_folder,
    plain_errors,
    sweep,
    sync,
    temporary,
    tidy,
)
from spectrakit.wording import named
from spectrakit.zoo.claims import Claims
from spectrakit.zoo.runs import finished_run, whole_record

#: The file that says so, and the version of what it stands for.
_MARK, _FORMAT = "batch.json", 1
#: Runs of one entry that were set aside and may be put back.
_LOOKED_AT = 16


class BatchFolder:
    """Paths in the folder of a batch.

    runs/NAME: the run of an entry, as `spectrakit analyze` writes it. stale/NAME: runs of it that
    are no longer asked for. journal: see `spectrakit.zoo.journal`. summary:
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
        for outer in self.path.absolute().parents:
            if (outer / _MARK).is_file() or (outer / MANIFEST).is_file():
                what = "a batch" if (outer / _MARK).is_file() else "a run"
                message = f"{self.path} lies in the folder of {what}, {outer}"
                raise UsageError(message, hint=f"another folder with {named('out')}")
        with plain_errors(self.path):
            if not self.path.exists():
                return False
            # Where the first driver died as it made the folder, there are only its temporary files.
            if not self.path.is_dir() or not (mark.exists() or self._is_empty()):
                message = f"{self.path} is there already, and is not the folder of a batch"
                raise UsageError(message, hint=f"another folder with {named('out')}")
            if not mark.exists():
                return False
        found = _read_mark(mark)
        if found > _FORMAT:
            message = f"{self.path} was written by a newer spectrakit (format {found})"
            raise UsageError(message, hint="pip install --upgrade spectrakit")
        return True

    def _is_empty(self) -> bool:
        return all(is_temporary(path.name) for path in self.path.iterdir())

    def require(self) -> None:
        """Raise UsageError where there is no batch in it."""
        if not (self.path / _MARK).is_file() or not self.check():
            message = f"there is no batch in {self.path}"
            raise UsageError(message, hint="spectrakit batch LIST --out FOLDER makes one")

    def make(self) -> None:
        """Make it the folder of a batch, if it is not one. Raises OutputError."""
        with plain_errors(self.path):
            make_folder(self.path)
            mark = self.path / _MARK
            if not mark.exists():
                partial = temporary(self.path, _MARK)
                partial.write_text(json.dumps({"format": _FORMAT, "id": secrets.token_hex(8)}))
                sync(partial)
                with suppress(FileNotFoundError):  # another driver was faster, and swept
                    partial.replace(mark)
            sweep(self.path)
            self.runs.mkdir(exist_ok=True)

    def tidy(self) -> None:
        """Remove what drivers left that died; what was left of a run is its next writer's to do."""
        with suppress(OSError):
            if self.claims.exists():
                Claims(self.claims, 0).sweep()

    def finished(self, name: str, key: str | None = None) -> dict[str, Any] | None:
        """The record of an entry's run, where it is whole; see `finished_run`."""
        return finished_run(self.runs / name, key)

    def is_left(self, name: str) -> bool:
        """Whether somebody is writing an entry's run, or died as it did."""
        return is_left(self.runs / name)

    def clear(self, name: str) -> None:
        """Remove what an ended process left half-written of an entry's run; its last run stays."""
        with suppress(OutputError):  # of another process, which writes there now
            tidy(self.runs / name)

    def make_way(self, name: str, key: str) -> None:
        """Set aside what is in the place of an entry's run and is not of what is asked for now.

        A run of other settings, which may be asked for again: then it is put back. And what does
        not say what its files are, for some would be taken for tables of the next run.
        """
        own = self.runs / name
        if own.exists() and (not _is_run(own) or self.is_of_others(name, key)):
            self.set_aside(name)
        if not own.exists():
            for aside in islice(self._aside(name), _LOOKED_AT):
                if finished_run(aside, key) is not None:
                    with plain_errors(self.path):
                        aside.rename(own)
                    return

    def is_of_others(self, name: str, key: str) -> bool:
        """Whether an entry has a run, and of other settings than those of `key`."""
        record = whole_record(self.runs / name)
        return record is not None and record.get("key") != key

    def _aside(self, name: str) -> Iterator[Path]:
        """Where runs of an entry are set aside; no name of an entry has the mark in it."""
        yield self.stale / name
        yield from (self.stale / f"{name}~{number}" for number in count(2))

    def set_aside(self, name: str) -> None:
        """Take an out-of-date run out of the dataset, and what is no run away."""
        try:
            tidy(self.runs / name)
        except OutputError:  # somebody writes it, or nobody may: then it is left
            return
        if (self.runs / name).exists():
            with plain_errors(self.path):
                self.stale.mkdir(exist_ok=True)
                aside = next(place for place in self._aside(name) if not place.exists())
                (self.runs / name).rename(aside)

    def names(self) -> list[str]:
        """Of the runs that are there, in order."""
        if not self.runs.is_dir():
            return []
        return sorted(path.name for path in self.runs.iterdir() if not path.name.startswith("."))


def _is_run(folder: Path) -> bool:
    """Whether it says what its tables are, whole or not."""
    try:
        return bool(json.loads((folder / MANIFEST).read_bytes())["tables"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _read_mark(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{path} is damaged: it does not say that this is the folder of a batch"
        hint = f"if it is one: echo '{{\"format\": {_FORMAT}}}' > {shlex.quote(str(path))}"
        raise MalformedError(message, hint=hint) from error
