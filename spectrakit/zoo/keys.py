"""By what a batch knows a finished run again, without opening its model.

The key says what was asked for: every setting as it was given, the contents of the files that are
read besides the model's, the version of the tables and of the plugins whose analyses are run. The
model itself is in the run: its commit, and the plugin that reads it. What a local model looks like
on disk (names, sizes, times of its files) is noted beside, so that one that has changed is looked
at again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit import catalog
from spectrakit.errors import UsageError
from spectrakit.plugins import plugins
from spectrakit.tables.columns import SCHEMA_VERSION
from spectrakit.token_options import STANDARD_INPUT, file_sha256

if TYPE_CHECKING:
    from spectrakit.spec import RunSpec

#: Files of one model that are looked at; no checkpoint has more.
_MOST_FILES = 10_000


def key_of(spec: RunSpec, threads: int = 1) -> str:
    """The key of what `spec` asks for: 64 hex digits.

    threads: of numerical libraries, whose number changes last digits.

    Raises UsageError for a text from standard input, which cannot be read for each model, and for a
    file that is not there.
    """
    if spec.source.text == STANDARD_INPUT:
        raise UsageError("a batch cannot read standard input", hint="put the text into a file")
    files = {}
    for name, setting, value in spec.settings():
        if value is not None and (setting.type is Path or name == "text"):
            files[name] = _content(name, Path(value))
    tokenizer = spec.source.tokenizer
    if tokenizer is not None and Path(tokenizer).exists():
        files["tokenizer"] = state_of_path(Path(tokenizer))
    asked = {
        "spec": spec.record(),
        "threads": threads,
        "files": files,
        "schema": SCHEMA_VERSION,
        "versions": _versions_of(spec.all_analyses),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def plugin_as_it_was(record: dict[str, Any]) -> bool:
    """Whether the plugin that read the model of this run has the same version now."""
    plugin = record.get("plugin")
    versions = {info.version for info in plugins().plugins if info.distribution == plugin}
    return record.get("plugin_version") in versions


def state_of(model: str) -> str:
    """What the files of the model look like now; "" where it is on the Hub.

    What is there is not what it was where this differs; where it is equal, nothing was written.
    """
    path = Path(model)
    try:
        if not path.exists():
            bundled = _bundled(model)
            return "" if bundled is None else state_of_path(bundled)
        return state_of_path(path)
    except OSError:
        return ""


@lru_cache(maxsize=64)
def _bundled(model: str) -> Path | None:
    """The folder of a bundled checkpoint."""
    entry = catalog.find(model)
    return None if entry is None else entry.folder


def state_of_path(path: Path) -> str:
    """Names, sizes and times of a file, or of the files in a folder, as a short hash."""
    told = []
    for file in _files(path):
        status = os.stat(file)  # noqa: PTH116  (ten thousand `Path`s take a second)
        told.append((os.fsencode(file), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(sorted(told)).encode()).hexdigest()[:16]


def _files(path: Path) -> list[str]:
    if not path.is_dir():
        return [os.fspath(path)]
    found: list[str] = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [f"{folder}{os.sep}{name}" for name in names if not name.startswith(".")]
        if len(found) > _MOST_FILES:
            break
    return found


def _content(name: str, path: Path) -> str | None:
    try:
        status = path.stat()
        return _hashed(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        what = name.rpartition(".")[2].replace("_", " ")
        raise UsageError(f"the {what} {path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=64)
def _hashed(path: Path, *_: int) -> str | None:
    """Once for all models that are run on it, as long as it is the same."""
    return file_sha256(path)


def _versions_of(names: Sequence[str]) -> dict[str, str]:
    """The distributions that provide these analyses, with their versions; of all for "all"."""
    things = plugins().analysis_kinds().things
    asked = [things[name] for name in names if name in things]
    entries = asked if len(asked) == len(names) else things.values()
    return {entry.origin.distribution: entry.origin.version for entry in entries}
