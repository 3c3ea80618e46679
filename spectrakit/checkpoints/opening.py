"""From what a user types to an open checkpoint."""

from __future__ import annotations

import difflib
import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from spectrakit import catalog
from spectrakit.catalog.assignments import values_of
from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.checkpoints.checkpoint import Identity
from spectrakit.checkpoints.hub_opening import HowOpened, HubRequest, open_hub
from spectrakit.checkpoints.local_opening import Local, open_path, tokenizer_of
from spectrakit.checkpoints.parts import HUB_SCHEME, WHOLE, Part, plain_path
from spectrakit.checkpoints.shards import FORMATS, is_weights
from spectrakit.checkpoints.training_folders import of_training
from spectrakit.errors import SpectrakitError, UsageError
from spectrakit.progress import Silent

if TYPE_CHECKING:
    from spectrakit.checkpoints.checkpoint import Checkpoint

logger = logging.getLogger("spectrakit")

#: What a run's own folder has.
_RUN = "run.json"


def open_checkpoint(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    file: str | None = None,
    subfolder: str | None = None,
    **how: Unpack[HowOpened],
) -> Checkpoint:
    """Open the checkpoint `name`: headers only, from this disk or by HTTP ranges from the Hub.

    `name` is, in this order, a folder or a weight file that exists, a name from the catalog, or a
    Hub repository (`org/name`, `hf://org/name`, `org/name@revision`), or a weight file or folder of
    it (`org/name/folder/file.pth`). A folder that is empty, or holds the results of a run, leaves
    its name to the catalog. The folder of a training run is its newest model, and
    `FOLDER@STEP` the one that it kept of a step.

    `file` is the path of the one weight file that is meant in a repository or folder, whatever it
    is called; `subfolder` the path of the folder in it that holds the model. Config and tokenizer
    are those beside the weights, or else of the nearest folder around them that has any.

    `revision` is a branch, tag or commit of a Hub repository. Of `how`, `cache_dir` and `token`
    default to those of huggingface_hub, `offline` to the environment's HF_HUB_OFFLINE. With
    `full_download` the weight files are downloaded into the cache instead of being read in parts.
    `progress` is told about long reads and downloads.

    Raises `UsageError` for a name, revision, file or folder that does not exist, `UnsupportedError`
    for a format that is not read here and for several models of which none is named,
    `MalformedError` for damaged or unsafe files, `NetworkError` when the Hub cannot be reached,
    refuses, or the file is not in the cache while offline.
    """
    asked = _Asked(os.fspath(name), revision, Part.of(file, subfolder))
    return _opened(asked, how)


@dataclass(frozen=True)
class _Asked:
    """The name of a model, its revision, and what part of it is meant; see `open_checkpoint`.

    as_base: of an adapter; it is no adapter itself then.
    """

    name: str
    revision: str | None = None
    part: Part = WHOLE
    as_base: bool = False


def _opened(asked: _Asked, how: HowOpened) -> Checkpoint:
    name, revision, part = asked.name, asked.revision, asked.part
    base = None if asked.as_base else partial(_base, how)
    progress = how.get("progress") or Silent()
    if not name.startswith(HUB_SCHEME) and _exists(name) and not _steps_aside(name):
        _mention_shadowed(name)
        _only_on_the_hub(revision, name)
        return open_path(Local(Path(name), part=part), progress, base)
    stem, at = _split_revision(name)
    if at is not None and at.isdecimal() and Path(stem).is_dir():
        _only_on_the_hub(revision, stem)
        return open_path(Local(Path(stem), step=int(at), part=part), progress, base)
    if revision is not None and at is not None and revision != at:
        raise UsageError(f"{name} asks for revision {at}, the option for {revision}")
    revision = revision or at
    entry = None if stem.startswith(HUB_SCHEME) else catalog.find(stem)
    if entry is not None and entry.folder is not None:
        _only_on_the_hub(revision, name)
        identity = Identity(
            part.within(entry.name), f"catalog {entry.name}", "catalog", None, entry.tokenizer, part
        )
        return open_path(Local(entry.folder, identity, part=part), progress, base)
    repo_id, address = repo_and_path(stem) if entry is None else (entry.source, entry.file)
    _check_repo_id(repo_id, stem if address is None else repo_id)
    request = HubRequest(repo_id, revision, tokenizer_of(repo_id), address, part, how)
    if entry is not None and entry.file is not None and part != WHOLE:  # another of its files
        entry, request = None, replace(request, address=None)
    try:
        checkpoint = open_hub(request, base)
    except SpectrakitError as error:
        _suggest(error, stem, repo_id)
        raise
    checkpoint.configure({} if entry is None else values_of(entry.config))
    return checkpoint


def _base(how: HowOpened, name: str, revision: str | None) -> Checkpoint:
    """The base model of an adapter; revision: of a repository."""
    local = not name.startswith(HUB_SCHEME) and _exists(name)
    return _opened(_Asked(name, None if local else revision, as_base=True), how)


def name_of(source: str) -> str:
    """What opens a checkpoint again, from its `source` as a run's manifest has it."""
    kind, _, rest = source.partition(" ")
    return rest if kind in ("catalog", "hub") and rest else source


def _exists(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # a name too long, or with a null byte
        return False


def _steps_aside(name: str) -> bool:
    """Whether a folder of this name that holds no model leaves the name to the catalog, and say so.

    A run's own folder is often called as the model is, or one is made and left empty.
    """
    path = Path(name)
    if not path.is_dir() or of_training(path) or catalog.find(name) is None:
        return False
    inside = [entry.name for entry in path.iterdir()]
    results = not inside or _RUN in inside
    if not results or any(file.endswith(tuple(FORMATS)) for file in inside):
        return False
    what = "a run's results" if inside else "nothing"
    logger.info("the folder %s holds %s: using the catalog entry of this name", name, what)
    return True


def _mention_shadowed(name: str) -> None:
    if catalog.find(name) is not None:
        logger.info("using the local path %s, not the catalog entry of this name", name)
    elif "/" in name and is_repo_id(name):
        logger.info("using the local path %s, not the Hub repository of this name", name)


def _split_revision(name: str) -> tuple[str, str | None]:
    stem, _, revision = name.partition("@")
    return (stem, revision) if revision else (name, None)


def _only_on_the_hub(revision: str | None, name: str) -> None:
    if revision is not None:
        raise UsageError(f"{name} is on this disk and has no revision {revision!r}")


def repo_and_path(stem: str) -> tuple[str, str | None]:
    """Repository and path in it of `hf://org/name/folder/file.pth`; None where there is no path.

    The scheme may be left out of a name that ends like a weight file, unless there is a folder
    `org/name` on this disk: then it was meant as a path. Raises `UsageError` for a path that leads
    elsewhere.
    """
    repo_id = stem.removeprefix(HUB_SCHEME)
    parts = repo_id.split("/")
    within = "/".join(parts[:2])
    if len(parts) < 3:
        return repo_id, None
    is_address = is_weights(stem) and is_repo_id(within) and not _exists(within)
    if repo_id == stem and not is_address:
        return repo_id, None
    try:
        return within, plain_path("/".join(parts[2:]))
    except ValueError as error:
        raise UsageError(f"{stem}: {error}", hint="hf://ORG/NAME/FILE.pth") from error


def _check_repo_id(repo_id: str, name: str) -> None:
    """Raise `UsageError` unless `repo_id` can be one, and a missing path does not ask the Hub."""
    looks_like_path = name.endswith((*FORMATS, "/", os.sep))
    if looks_like_path or not is_repo_id(repo_id):
        raise UsageError(
            f"{name!r} is neither a file, a folder, a catalog name nor a Hub repository id",
            hint=_alternatives(name) or "spectrakit catalog list",
        )


def _suggest(error: SpectrakitError, stem: str, repo_id: str) -> None:
    """Put into the error what else may have been meant: a path, or a catalog name."""
    close = None if "/" in repo_id else _alternatives(repo_id)
    if close is not None:
        error.hint = close if error.hint is None else f"{close}; or {error.hint}"
    if isinstance(error, UsageError) and stem.startswith(f"{repo_id}/"):
        error.message = f"there is no {stem} on this disk, and {error.message}"


def _alternatives(name: str) -> str | None:
    close = difflib.get_close_matches(name, [entry.name for entry in catalog.entries()], n=3)
    return " or ".join(close) or None
