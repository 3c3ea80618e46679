"""The checkpoints in a folder."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from spectrakit.checkpoints.assembling import CONFIGS
from spectrakit.checkpoints.shards import FORMATS, NoWeightsError, is_weights, weight_files
from spectrakit.checkpoints.stores import LocalFolder
from spectrakit.errors import MalformedError, UnsupportedError, UsageError

logger = logging.getLogger("spectrakit")

#: No zoo is nested deeper, and a link that leads in a circle ends.
MOST_DEPTH = 12
#: Files and folders that are looked at, in all.
MOST_SEEN = 1_000_000
#: Where transformers' Trainer puts the checkpoints of a training run, beside the last one.
_TRAINER = re.compile(r"checkpoint-\d+")
#: What a torch file begins with: a zip archive, or a pickle of long ago.
_TORCH = (b"PK\x03\x04", b"\x80")
_RUN, _BATCH = "run.json", "batch.json"


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, in order of their paths, numbers by size.

    They are folders with a config and weights, and weight files without a config beside them. A
    folder that is a checkpoint is searched no further, except for the `checkpoint-500` of a
    training run. Hidden folders, runs of spectrakit and folders that a link leads back to are left
    out. A folder that is named itself counts for a checkpoint if it has a config and no weights.

    What cannot be listed or lies too deep is left out with a note. Raises UsageError where nothing
    is found, where `folder` cannot be listed, and where it holds too many files.
    """
    walk = _Walk()
    walk.stay_below(folder)
    found = list(walk.checkpoints(folder, 0))
    walk.tell(folder)
    if not found:
        raise _nothing(folder, walk)
    return found


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts `step-9` before `step-10`."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(p), p) if p.isascii() and p.isdigit() else (1, 0, p) for p in parts)


class _Walk:
    """What was seen on the way."""

    def __init__(self) -> None:
        self.seen: set[tuple[int, int]] = set()
        self.looked_at = 0
        self.runs = 0
        self.unlisted: list[Path] = []
        self.too_deep: list[Path] = []
        self.unread: list[Path] = []

    def stay_below(self, folder: Path) -> None:
        """Follow no link to a folder that `folder` is in."""
        for above in folder.resolve().parents:
            self.seen.add(_which(above.stat()))

    def checkpoints(self, folder: Path, depth: int) -> Iterator[Path]:
        """The checkpoints of one folder and those below it."""
        try:
            status = folder.stat()
            entries = self._listed(folder)
        except OSError as error:
            if depth == 0:
                raise UsageError(f"cannot list {folder}: {error.strerror}") from error
            self.unlisted.append(folder)
            return
        if _which(status) in self.seen:
            return
        self.seen.add(_which(status))
        names = {entry.name for entry in entries if _is(entry, "file")}
        if _is_of_runs(names):
            self.runs += 1
            return
        own = self._own(folder, names, named=depth == 0)
        yield from own
        below = [entry for entry in entries if _is(entry, "dir") and not entry.name.startswith(".")]
        if folder in own:
            below = [entry for entry in below if _TRAINER.fullmatch(entry.name)]
        if below and depth == MOST_DEPTH:
            self.too_deep.append(folder)
            return
        # The folder itself before a link to it.
        for entry in sorted(below, key=lambda each: (each.is_symlink(), natural(each.name))):
            yield from self.checkpoints(folder / entry.name, depth + 1)

    def tell(self, folder: Path) -> None:
        """Note what was left out."""
        reasons = {
            "cannot be listed": self.unlisted,
            f"more than {MOST_DEPTH} folders deep": self.too_deep,
            "has a config, and no weights that are read here": self.unread,
        }
        for reason, paths in reasons.items():
            if paths:
                more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
                shown = os.path.relpath(paths[0], folder)
                logger.warning("left out of %s: %s%s (%s)", folder, shown, more, reason)

    def _listed(self, folder: Path) -> list[os.DirEntry[str]]:
        entries = []
        with os.scandir(folder) as listing:
            for entry in listing:
                entries.append(entry)
                self.looked_at += 1
                if self.looked_at > MOST_SEEN:
                    message = f"{folder}: more than {MOST_SEEN:,} files and folders"
                    raise UsageError(message, hint="name the checkpoints in a list")
        return entries

    def _own(self, folder: Path, names: set[str], *, named: bool) -> list[Path]:
        """The folder itself where it is a checkpoint, or its weight files where each is one."""
        weights = sorted(filter(is_weights, names), key=natural)
        is_indexed = any(name.endswith(".index.json") for name in names)
        if not names & set(CONFIGS) and not is_indexed:
            return [folder / name for name in weights if _is_torch(folder / name)]
        try:
            weight_files(LocalFolder(folder))
        except MalformedError:
            return [folder]  # opening it says what is wrong
        except NoWeightsError:
            self.unread += [] if named else [folder]
            return [folder] if named else []
        except UnsupportedError:
            # Several files, each of which may be the model; or formats that opening tells of.
            return [folder / name for name in weights] or [folder]
        return [folder]


def _which(status: os.stat_result) -> tuple[int, int]:
    """What two paths to one folder share."""
    return status.st_dev, status.st_ino


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    try:
        return entry.is_file() if kind == "file" else entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _is_torch(path: Path) -> bool:
    """Whether a .bin or .ckpt file can be one of torch; other endings are trusted."""
    if path.suffix not in {".bin", ".ckpt"}:
        return path.suffix in FORMATS
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_TORCH)
    except OSError:
        return True


def _is_of_runs(names: Iterable[str]) -> bool:
    """Whether a folder with these files is a run, or holds those of a batch."""
    names = set(names)
    return _BATCH in names or (_RUN in names and any(n.endswith(".parquet") for n in names))


def _nothing(folder: Path, walk: _Walk) -> UsageError:
    if (folder / _BATCH).is_file():
        hint = f"spectrakit batch status {shlex.quote(str(folder))}"
        return UsageError(f"{folder} is the folder of a batch and has no checkpoints", hint=hint)
    if (folder / _RUN).is_file():
        hint = f"to do it again: spectrakit batch {shlex.quote(str(folder / _RUN))}"
        return UsageError(f"{folder} is a run, not a checkpoint", hint=hint)
    if walk.runs:
        return UsageError(f"{folder} has runs in it, and no checkpoints")
    hint = "a checkpoint is a folder with config.json and weights, or a weight file"
    return UsageError(f"there is no checkpoint in {folder}", hint=hint)
