"""Where a checkpoint's files lie, as a set of names: a folder, a single file, a Hub commit."""

from __future__ import annotations

import json
import os
import re
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from spectrakit.checkpoints.byte_sources import ByteSource, LocalFile, Traffic
from spectrakit.checkpoints.parts import folders_around, plain_name
from spectrakit.errors import MalformedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spectrakit.checkpoints.parts import Part

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
#: How far down a folder on this disk is looked through for weights, and how many entries.
_DEEPEST, _MOST_LISTED = 4, 10_000
#: A hidden file that says what others hold.
_DCP_METADATA = ".metadata"


class Store(Protocol):
    """The files of one checkpoint, by name."""

    traffic: Traffic
    only: str | None  #: the one weight file that is meant

    @property
    def label(self) -> str:
        """The store, as errors name it."""

    def at(self, part: Part) -> Self:
        """The store of the files around this part of it, which stand in for side files."""

    def own_names(self) -> frozenset[str]:
        """Names of the files at the top of the checkpoint."""

    def names(self) -> frozenset[str]:
        """Those, and the side files that folders around it have in their place."""

    def paths(self) -> list[str]:
        """The paths of its own files and of those in folders of it, sorted."""

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

    def own_names(self) -> frozenset[str]:
        """Names of the files in the folder. Raises `UsageError` when it cannot be listed."""
        try:
            return frozenset(entry.name for entry in self.folder.iterdir() if entry.is_file())
        except OSError as error:
            raise UsageError(f"cannot list {self.folder}: {error.strerror}") from error

    def names(self) -> frozenset[str]:
        """Those, and side files of the folders around. Raises what `own_names` does."""
        around = {name for name in SIDE_FILES if self._around(name) is not None}
        return self.own_names() | around

    def at(self, part: Part) -> Self:
        """The folder `part.folder` of it, or one file there; this one and those between around."""
        inner = copy(self)
        inner.only = part.name
        if part.folder:
            inner.folder = (self.folder / part.folder).resolve()
            between = [self.folder / around for around in reversed(folders_around(part.folder))]
            inner.outer = (*self.outer, *between)
        return inner

    def paths(self) -> list[str]:
        """The files in the folder and in folders of it, a few levels down; links are not followed.

        Hidden ones are left out.
        """
        found: list[str] = []
        seen = 0
        for folder, folders, files in os.walk(self.folder):
            inner = Path(folder).relative_to(self.folder)
            seen += len(folders) + len(files)
            deep = len(inner.parts) >= _DEEPEST or seen > _MOST_LISTED
            folders[:] = [] if deep else sorted(n for n in folders if not n.startswith("."))
            found += [
                (inner / name).as_posix()
                for name in files
                if not name.startswith(".") or name == _DCP_METADATA
            ]
        inside = (path for path in found[:_MOST_LISTED] if self._leads_to(self.folder / path))
        return sorted(inside)

    def source(self, name: str) -> LocalFile:
        """The bytes of the file `name`."""
        return LocalFile(self._around(name) or self.inside(name), self.traffic)

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
        path = self._around(name) or self.inside(name)
        return path if path.is_file() else None

    def _around(self, name: str) -> Path | None:
        """The side file `name` of the innermost folder around that has it, where this has none."""
        if name not in SIDE_FILES or (self.folder / name).is_file():
            return None
        around = (LocalFolder(folder).path(name) for folder in reversed(self.outer))
        return next((path for path in around if path is not None), None)

    def inside(self, name: str) -> Path:
        """`folder / name`; raises `MalformedError` where a link leads out of the folder.

        The Hub's cache is the exception: its snapshots are links into the blobs beside them.
        """
        path = self.folder / name
        if name == self.only:
            return path
        try:
            plain_name(name)
        except ValueError as error:
            raise MalformedError(f"in {self.folder}: {error}") from error
        if self._leads_to(path):
            return path
        raise MalformedError(
            f"{path} is a link that leads out of its folder, to {path.resolve()}",
            hint="put the file itself there, or give its own path",
        )

    def _leads_to(self, path: Path) -> bool:
        """Whether `path` is a file of the folder, or a link to one."""
        roots = (self.folder, *_blob_folders(self.folder))
        return not path.is_symlink() or any(path.resolve().is_relative_to(root) for root in roots)


def _blob_folders(folder: Path) -> list[Path]:
    """Where the links of a Hub cache snapshot may lead: CACHE/models--X/{snapshots/SHA, blobs}.

    Those of its folders too.
    """
    for inner in (folder, *folder.parents):
        repo = inner.parent.parent
        if inner.parent.name == "snapshots" and repo.name.startswith("models--"):
            return [repo / "blobs", repo.parent / "blobs"]  # its own, and the shared store
    return []


def cached_repo(folder: Path) -> tuple[str, str] | None:
    """Repository and commit that `folder` is the Hub cache's snapshot of, or None."""
    folder = folder.resolve()
    is_snapshot = folder.parent.name == "snapshots" and _SNAPSHOT.fullmatch(folder.name)
    if not is_snapshot or not _blob_folders(folder):
        return None
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1), folder.name
