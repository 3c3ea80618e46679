"""From what a user types to an open checkpoint."""

from __future__ import annotations

import difflib
import logging
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit import catalog
from spectrakit.catalog.assignments import values_of
from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.checkpoints.adapters import is_adapter, open_adapter
from spectrakit.checkpoints.assembling import assemble
from spectrakit.checkpoints.checkpoint import Identity
from spectrakit.checkpoints.hub_opening import HUB_SCHEME, HubRequest, open_hub
from spectrakit.checkpoints.shards import FORMATS
from spectrakit.checkpoints.stores import LocalFolder, cached_repo, plain_name
from spectrakit.checkpoints.trainer_layouts import find_model
from spectrakit.checkpoints.training_folders import at_step, of_training
from spectrakit.errors import SpectrakitError, UnsupportedError, UsageError
from spectrakit.plain import plain
from spectrakit.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from spectrakit.checkpoints.checkpoint import Checkpoint

logger = logging.getLogger("spectrakit")

#: What a run's own folder has.
_RUN = "run.json"


def open_checkpoint(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: Path | None = None,
    token: str | None = None,
    offline: bool | None = None,
    full_download: bool = False,
    progress: Progress | None = None,
) -> Checkpoint:
    """Open the checkpoint `name`: headers only, from this disk or by HTTP ranges from the Hub.

    `name` is, in this order, a folder or a weight file that exists, a name from the catalog, or a
    Hub repository (`org/name`, `hf://org/name`, `org/name@revision`), or one weight file of it
    (`hf://org/name/folder/file.pth`). A folder that is empty, or holds the results of a run, leaves
    its name to the catalog. The folder of a training run is its newest model, and
    `FOLDER@STEP` the one that it kept of a step.

    `revision` is a branch, tag or commit of a Hub repository. `cache_dir` and `token` default to
    those of huggingface_hub, `offline` to the environment's HF_HUB_OFFLINE. With `full_download`
    the weight files are downloaded into the cache instead of being read in parts. `progress` is
    told about long reads and downloads.

    Raises `UsageError` for a name or revision that does not exist, `UnsupportedError` for a format
    that is not read here, `MalformedError` for damaged or unsafe files, `NetworkError` when the Hub
    cannot be reached, refuses, or the file is not in the cache while offline.
    """
    hub = _Access(cache_dir, token, offline, full_download)
    return _opened(os.fspath(name), revision, hub, progress or Silent())


@dataclass(frozen=True)
class _Access:
    """How the Hub is asked; see `open_checkpoint`."""

    cache_dir: Path | None
    token: str | None = field(repr=False)
    offline: bool | None
    full_download: bool


def _opened(
    name: str, revision: str | None, hub: _Access, progress: Progress, *, as_base: bool = False
) -> Checkpoint:
    """See `open_checkpoint`. as_base: of an adapter; it is no adapter itself then."""
    of_adapter = partial(_opened, revision=None, hub=hub, progress=progress, as_base=True)
    base = None if as_base else of_adapter
    if not name.startswith(HUB_SCHEME) and _exists(name) and not _steps_aside(name):
        _mention_shadowed(name)
        _only_on_the_hub(revision, name)
        return _open_path(Path(name), progress, base)
    stem, at = _split_revision(name)
    if at is not None and at.isdecimal() and Path(stem).is_dir():
        _only_on_the_hub(revision, stem)
        return _open_path(Path(stem), progress, base, step=int(at))
    if revision is not None and at is not None and revision != at:
        raise UsageError(f"{name} asks for revision {at}, the option for {revision}")
    revision = revision or at
    entry = None if stem.startswith(HUB_SCHEME) else catalog.find(stem)
    if entry is not None and entry.folder is not None:
        _only_on_the_hub(revision, name)
        identity = Identity(entry.name, f"catalog {entry.name}", "catalog", None, entry.tokenizer)
        return _open_path(entry.folder, progress, base, identity)
    repo_id, file = repo_and_file(stem) if entry is None else (entry.source, entry.file)
    _check_repo_id(repo_id, name if file is None else repo_id)
    tokenizer = _tokenizer_of(repo_id)
    request = HubRequest(
        repo_id, revision, hub.cache_dir, hub.token, hub.offline, hub.full_download, tokenizer, file
    )
    try:
        checkpoint = open_hub(request, progress)
    except SpectrakitError as error:
        _suggest(error, repo_id)
        raise
    checkpoint.configure({} if entry is None else values_of(entry.config))
    return checkpoint


def name_of(source: str) -> str:
    """What opens a checkpoint again, from its `source` as a run's manifest has it."""
    kind, _, rest = source.partition(" ")
    return rest if kind in ("catalog", "hub") and rest else source


def _open_path(
    path: Path,
    progress: Progress,
    base: Callable[[str], Checkpoint] | None,
    identity: Identity | None = None,
    step: int | None = None,
) -> Checkpoint:
    if path.is_dir():
        if step is not None or of_training(path):
            name = _called(path.absolute().name, path.absolute().parent)
            identity = Identity(name, str(path), "local")
            path = at_step(path, step)
        return _open_folder(path, progress, identity, base)
    if not path.is_file():
        raise UsageError(f"{path} is neither a folder nor a file")
    name = path.name
    for extension in FORMATS:
        name = name.removesuffix(extension)
    identity = Identity(_called(name, path.absolute().parent), str(path), "local")
    return assemble(LocalFolder(path.parent, only=path.name), identity, progress, only=path.name)


def _open_folder(
    path: Path,
    progress: Progress,
    identity: Identity | None,
    base: Callable[[str], Checkpoint] | None,
) -> Checkpoint:
    """The model in the folder `path`, its own or where a training program keeps it.

    base: opens the base model of an adapter; None where an adapter is not looked for: one over
    another may lead round in a circle.
    """
    place = find_model(path)
    if is_adapter(place.folder) and base is None:
        message = f"{place.folder} is a PEFT adapter itself, and is to be the base of one"
        raise UnsupportedError(message, hint="merge the base first: PEFT's merge_and_unload")
    if is_adapter(place.folder) and base is not None:
        name = _called(path.absolute().name, path.absolute().parent)
        identity = identity or Identity(name, str(place.folder), "local")
        return open_adapter(place.folder, progress, identity, base)
    store = LocalFolder(place.folder, only=place.file, outer=place.outer)
    if not place.outer:
        identity = identity or _identity_of_folder(path, store.folder)
        return assemble(store, identity, progress)
    logger.info("reading %s", place.path)
    name = _called(path.absolute().name, path.absolute().parent)
    identity = identity or Identity(name, str(place.path), "local")
    return assemble(store, identity, progress, only=place.file)


def _identity_of_folder(path: Path, folder: Path) -> Identity:
    """A folder is called by its name; a snapshot in the Hub's cache is known better."""
    cached = cached_repo(folder)
    if cached is None:
        return Identity(_called(folder.name, folder.parent), str(path), "local")
    repo_id, sha = cached
    return Identity(repo_id, str(path), "local", sha, _tokenizer_of(repo_id))


def _called(name: str, parent: Path) -> str:
    """What a local checkpoint is called: its name, or its folder's where that has only dots."""
    names = (name, parent.name)
    return plain(next((own for own in names if own.strip(". ")), "model"))


def _tokenizer_of(repo_id: str) -> str | None:
    entry = catalog.find(repo_id)
    return None if entry is None else entry.tokenizer


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


def repo_and_file(stem: str) -> tuple[str, str | None]:
    """Repository and weight file of `hf://org/name/folder/file.pth`; None where none is named.

    Raises `UsageError` for a path that leads elsewhere.
    """
    repo_id = stem.removeprefix(HUB_SCHEME)
    parts = repo_id.split("/")
    if repo_id == stem or len(parts) < 3 or not stem.endswith(tuple(FORMATS)):
        return repo_id, None
    try:
        return "/".join(parts[:2]), "/".join(map(plain_name, parts[2:]))
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


def _suggest(error: SpectrakitError, repo_id: str) -> None:
    """Put catalog names close to `repo_id` into the hint: it may have been meant as one."""
    close = None if "/" in repo_id else _alternatives(repo_id)
    if close is not None:
        error.hint = close if error.hint is None else f"{close}; or {error.hint}"


def _alternatives(name: str) -> str | None:
    close = difflib.get_close_matches(name, [entry.name for entry in catalog.entries()], n=3)
    return " or ".join(close) or None
