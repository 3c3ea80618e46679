"""The witness of a batch: what was begun and what became of it, a line of JSON each.

One file a driver, each line synced before the next step is taken. It decides nothing: whether a
model is done is told by its run. A line that was torn when its driver died is passed over.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spectrakit.tables.folders import plain_errors, sync
from spectrakit.zoo.job import Outcome

_NAME = re.compile(r"(\d{4,})-.*\.jsonl")


class Journal:
    """The lines of one driver, in a file that is made with the first of them.

    number: of the driver, counted over all that ever worked in the folder.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self._folder, self._host = folder, host
        self._descriptor: int | None = None
        self.number = 0

    def open(self) -> None:
        """Make the file. Raises OutputError where the folder cannot be written to."""
        with plain_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            while self._descriptor is None:
                self.number = max((number for number, _ in _files(self._folder)), default=0) + 1
                path = self._folder / f"{self.number:04}-{self._host}-{os.getpid()}.jsonl"
                # Two drivers may count alike at the same moment: the second file of a number goes.
                self._descriptor = os.open(path, flags, 0o644)
                if sum(number == self.number for number, _ in _files(self._folder)) > 1:
                    os.close(self._descriptor)
                    self._descriptor = None
                    path.unlink()
            sync(self._folder)

    def write(self, event: str, **what: object) -> None:
        """One line, on the disk when this returns. Raises OutputError where it cannot be."""
        if self._descriptor is None:
            self.open()
        line = {"event": event, "at": datetime.now(UTC).isoformat(timespec="seconds"), **what}
        with plain_errors(self._folder):
            self._append((json.dumps(line) + "\n").encode())

    def _append(self, line: bytes) -> None:
        """Either the whole line or nothing of it: on a full disk, the next one begins anew."""
        descriptor = self._descriptor or 0
        size = os.fstat(descriptor).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise

    def close(self) -> None:
        """The driver is done."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


@dataclass(slots=True)
class Told:
    """What the journals say of one entry: the last of each.

    model: as it was asked for, in the run with this `asked` as its key.
    state: of the model's files when that was. attempts: how often it was begun. failed: what became
    of the attempt with this `key`, under limits of so many seconds and bytes of memory; None where
    it has a run.
    """

    model: str = ""
    asked: str = ""
    attempts: int = 0
    state: str | None = None
    key: str = ""
    failed: Outcome | None = None
    seconds: float | None = None
    memory: int | None = None


def read_journals(folder: Path) -> dict[str, Told]:
    """What all journals in `folder` say, by the names of entries; {} where there is none."""
    found: dict[str, Told] = {}
    for line in journal_lines(folder):
        _take_named(found, line)
    return found


class Others:
    """What other drivers write while this one works; number: of its own journal."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        #: Bytes of each journal that are of before, or were read.
        self._read = {path: path.stat().st_size for _, path in _files(folder)}
        self._told: dict[str, Told] = {}

    def told(self, name: str) -> Told | None:
        """What was said of an entry since; None where nothing was."""
        for number, path in _files(self._folder):
            if number != self._number:
                self._catch_up(path)
        return self._told.get(name)

    def _catch_up(self, path: Path) -> None:
        begin = self._read.get(path, 0)
        with path.open("rb") as file:
            file.seek(begin)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]  # the rest is being written
        self._read[path] = begin + len(whole)
        for line in filter(None, map(_line_of, whole.splitlines())):
            _take_named(self._told, line)


def journal_lines(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Every whole line, those of later drivers later; clocks are not asked."""
    for _, path in sorted(_files(folder)):
        with path.open("rb") as file:
            yield from filter(None, map(_line_of, file))


def _line_of(text: bytes) -> dict[str, Any] | None:
    """A line; None where it is torn, or not ours."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _take_named(told: dict[str, Told], line: Mapping[str, Any]) -> None:
    name = line.get("name")
    if isinstance(name, str):
        with suppress(KeyError, TypeError, AttributeError):  # a line that no driver wrote
            _take(told.setdefault(name, Told()), line)


def _take(told: Told, line: Mapping[str, Any]) -> None:
    match line.get("event"):
        case "started":
            told.attempts += 1
            told.model, told.asked = str(line.get("model")), str(line.get("key"))
        case "finished":
            told.state, told.failed = line.get("state"), None
        case "failed":
            told.failed = Outcome.of(line["outcome"])  # first: it fails where the line is none
            told.state, told.key = line.get("state"), str(line.get("key"))
            told.seconds, told.memory = line.get("seconds"), line.get("memory")


def _files(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return [(int(match.group(1)), path) for match, path in matches if match]
