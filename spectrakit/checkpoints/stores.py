"""Where a checkpoint's files lie, as a set of names: a folder, a single file, a Hub commit."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Protocol

from spectrakit.checkpoints.byte_sources import ByteSource, LocalFile, Traffic
from spectrakit.errors import MalformedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: What describes a model beside its weights, and may lie in a folder around them.
SIDE_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)

#: More than any config, index or tokenizer list needs (a shard index of 10^5 tensors is 10 MB).
MAX_JSON_BYTES = 64_000_000

_SNAPSHOT = re.compile(r"[0-9a-f]{40}")


class Store(Protocol):
    """The files of one checkpoint, by name."""

    traffic: Traffic

    @property
    def label(self) -> str:
        """The store, as errors name it."""

    def names(self) -> frozenset[str]:
        """Names of the files at the top of the checkpoint."""

    def source(self, name: str) -> ByteSource:
        """The bytes of the file `name`."""

    def read_small(self, name: str) -> bytes:
        """The whole of a small file (a config, an index)."""

    def path(self, name: str) -> Path | None:
        """The small file `name` on this disk, or None when the checkpoint has none."""


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`. Raises `MalformedError` that names `where` when it is not one."""
    try:
        value = json.loads(data.decode("utf-8"), object_hook=_unwrapped_float)
    except RecursionError as error:
        raise MalformedError(f"{where} is nested too deeply") from error
    except ValueError as error:
        raise MalformedError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedError(f"{where} holds no JSON object")
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:  # a lone surrogate, which no file can be written with
        raise MalformedError(f"{where} holds text that is not Unicode: {error.reason}") from error
    return value


def _unwrapped_float(value: dict[str, Any]) -> dict[str, Any] | float:
    """transformers writes a number that JSON lacks as {"__float__": "Infinity"}."""
    if value.keys() == {"__float__"} and value["__float__"] in ("Infinity", "-Infinity", "NaN"):
        return float(value["__float__"])
    return value


def plain_name(name: str) -> str:
    """`name` if it names a file of the folder itself, never a path that leads elsewhere.

    Raises `ValueError` otherwise: separators of any system, drive letters, `.` and `..`, and what
    cannot be printed.
    """
    bare = name.strip() == name and name.isprintable() and not set(name) & set("/\\:")
    if not bare or name in {"", ".", ".."}:
        raise ValueError(f"{name!r} is not a plain file name")
    return name


class LocalFolder:
    """A folder on this disk, or one weight file in it."""

    def __init__(
        self, folder: Path, *, only: str | None = None, outer: Sequence[Path] = ()
    ) -> None:
        """The files of `folder`; with `only`, that weight file and the small files beside it.

        outer: folders around it, the inner ones last, whose config and tokenizer stand in for those
        that it does not have.
        """
        self.folder = folder.resolve()
        self.only = only
        self.outer = tuple(path.resolve() for path in outer)
        self.traffic = Traffic()

    @property
    def label(self) -> str:
        """The path."""
        return str(self.folder if self.only is None else self.folder / self.only)

    def names(self) -> frozenset[str]:
        """Names of the files in the folder. Raises `UsageError` when it cannot be listed."""
        try:
            own = frozenset(entry.name for entry in self.folder.iterdir() if entry.is_file())
            return own | {name for name in SIDE_FILES if self._around(name) is not None}
        except OSError as error:
            raise UsageError(f"cannot list {self.folder}: {error.strerror}") from error

    def source(self, name: str) -> LocalFile:
        """The bytes of the file `name`."""
        return LocalFile(self._around(name) or self._inside(name), self.traffic)

    def read_small(self, name: str) -> bytes:
        """The whole of the file `name`; raises `MalformedError` beyond `MAX_JSON_BYTES`."""
        file = self.source(name)
        try:
            if file.size > MAX_JSON_BYTES:
                raise MalformedError(
                    f"{file.name} has {file.size:,} bytes, far too many for its kind"
                )
            return file.read(0, file.size)
        finally:
            file.close()

    def path(self, name: str) -> Path | None:
        """The file `name`, or None."""
        path = self._around(name) or self._inside(name)
        return path if path.is_file() else None

    def _around(self, name: str) -> Path | None:
        """The side file `name` of the innermost folder around that has it, where this has none."""
        if name not in SIDE_FILES or (self.folder / name).is_file():
            return None
        around = (LocalFolder(folder).path(name) for folder in reversed(self.outer))
        return next((path for path in around if path is not None), None)

    def _inside(self, name: str) -> Path:
        """`folder / name`, unless a link leads out of the folder.

        The Hub's cache is the exception: its snapshots are links into the blobs beside them.
        """
        path = self.folder / name
        if name == self.only:
            return path
        try:
            plain_name(name)
        except ValueError as error:
            raise MalformedError(f"in {self.folder}: {error}") from error
        if not path.is_symlink():
            return path
        target = path.resolve()
        roots = [self.folder, *_blob_folders(self.folder)]
        if any(target.is_relative_to(root) for root in roots):
            return path
        raise MalformedError(
            f"{path} is a link that leads out of its folder, to {target}",
            hint="put the file itself there, or give its own path",
        )


def _blob_folders(folder: Path) -> list[Path]:
    """Where the links of a Hub cache snapshot may lead: CACHE/models--X/{snapshots/SHA, blobs}."""
    repo = folder.parent.parent
    if folder.parent.name != "snapshots" or not repo.name.startswith("models--"):
        return []
    return [repo / "blobs", repo.parent / "blobs"]  # its own, and the cache-wide shared store


def cached_repo(folder: Path) -> tuple[str, str] | None:
    """Repository and commit that `folder` is the Hub cache's snapshot of, or None."""
    folder = folder.resolve()
    if not _blob_folders(folder) or not _SNAPSHOT.fullmatch(folder.name):
        return None
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1), folder.name
