"""Paths that a user writes, which may be no paths at all; and what their runs are called after."""

from __future__ import annotations

import os
from pathlib import Path

from spectrakit.checkpoints.shards import FORMATS
from spectrakit.checkpoints.stores import cached_repo


def exists(text: str | Path) -> bool:
    """Whether `text` is a path to something; one too long or with a null byte is not."""
    return bool(text) and os.path.exists(text)  # noqa: PTH110  (pathlib's raises for these)


def is_file(text: str | Path) -> bool:
    """The same of a file."""
    return bool(text) and os.path.isfile(text)  # noqa: PTH113


def begun_in(folder: Path | None, text: str) -> str:
    """A path in a list, which begins in the list's folder; of the command line (None) as it is."""
    if folder is None:
        return text
    return str(folder / (Path(text).expanduser() if text.startswith("~/") else text))


def called_after(text: str) -> str:
    """A path as its run is called: all of it where it is relative, else its last two parts."""
    path = Path(os.path.normpath(text))
    name = path.name
    for extension in FORMATS:
        name = name.removesuffix(extension)
    parts = [part for part in path.parts[:-1] if part not in ("..", path.anchor)]
    return "/".join([*(parts[-1:] if path.is_absolute() else parts), name])


def called_within(found: Path, folder: Path, text: str) -> str:
    """A checkpoint of a folder as its run is called: by its path from that folder.

    The folder itself is called as it is written, `text`; a commit in the Hub's cache by its
    repository.
    """
    cached = cached_repo(found)
    if cached is not None:
        return f"{cached[0]}@{cached[1][:12]}"
    if found != folder:
        return called_after(str(found.relative_to(folder)))
    own = called_after(text)
    return own if own.strip("./") else Path(os.path.abspath(folder)).name  # noqa: PTH100  (of "..", too)
