"""Opening what is on this disk: a folder, a weight file, a part of either, what trainers leave."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spectrakit import catalog
from spectrakit.checkpoints.adapters import BaseOpener, is_adapter, open_adapter, refuse_as_base
from spectrakit.checkpoints.assembling import assemble
from spectrakit.checkpoints.checkpoint import Identity
from spectrakit.checkpoints.choosing import meant
from spectrakit.checkpoints.parts import WHOLE, Part, missing
from spectrakit.checkpoints.shards import FORMATS
from spectrakit.checkpoints.stores import LocalFolder, cached_repo
from spectrakit.checkpoints.trainer_layouts import find_model
from spectrakit.checkpoints.training_folders import at_step, of_training
from spectrakit.errors import UsageError
from spectrakit.plain import plain

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.checkpoints.checkpoint import Checkpoint
    from spectrakit.progress import Progress

logger = logging.getLogger("spectrakit")


@dataclass(frozen=True)
class Local:
    """What is to be opened: a file, or a part of a folder.

    identity: who it is, where that is known. step: of the training run whose folder it is.
    """

    path: Path
    identity: Identity | None = None
    step: int | None = None
    part: Part = WHOLE


def open_path(asked: Local, progress: Progress, base: BaseOpener | None) -> Checkpoint:
    """Open a folder or file of this disk.

    base: opens the base model of an adapter; None where the model is one, and is no adapter itself.
    Raises what `open_checkpoint` says.
    """
    path = asked.path
    if path.is_dir():
        return _open_folder(asked, progress, base)
    if not path.is_file():
        raise UsageError(f"{path} is neither a folder nor a file")
    if asked.part.path is not None:
        message = f"{path} is a file, which has no {asked.part.path} in it"
        raise UsageError(message, hint=f"spectrakit inspect {path}")
    name = path.name
    for extension in FORMATS:
        name = name.removesuffix(extension)
    identity = Identity(_called(name, path.absolute().parent), str(path), "local")
    return assemble(LocalFolder(path.parent, only=path.name), identity, progress)


def _open_folder(asked: Local, progress: Progress, base: BaseOpener | None) -> Checkpoint:
    """The model in a folder, its own or where a training program keeps it."""
    folder, part = asked.path, asked.part
    identity = asked.identity or _identity_of(asked)
    if asked.step is not None or (of_training(folder) and part.subfolder is None):
        folder = at_step(folder, asked.step)
    top = LocalFolder(folder)
    place = folder / (part.path or "")
    if not (place.is_dir() if part.file is None else place.is_file()):
        raise missing(str(asked.path), part, top.paths())
    store = top.at(part)
    if part.file is not None:
        return assemble(store, identity, progress)
    found = find_model(place)
    if found.outer:
        logger.info("reading %s", found.path)
        store = LocalFolder(found.folder, outer=(*store.outer, *found.outer))
        if found.file is not None:  # which nobody named: a link to elsewhere is not meant
            store.inside(found.file)
            store = store.at(Part(found.file))
        if asked.step is None and not of_training(asked.path):
            # What is the newest now is found again by its path.
            identity = replace(identity, source=str(found.path), part=WHOLE)
    if store.only is None and is_adapter(store.own_names()):
        return open_adapter(store, progress, identity, base or refuse_as_base(str(found.folder)))
    store = meant(store, Part(None, part.subfolder), str(asked.path))
    return assemble(store, identity, progress)


def _identity_of(asked: Local) -> Identity:
    """A folder is called by its name; a snapshot in the Hub's cache is known better."""
    path, part = asked.path, asked.part
    cached = None if asked.step is not None or of_training(path) else cached_repo(path)
    if cached is None:
        name = _called(path.absolute().name, path.absolute().parent)
        identity = Identity(name, str(path), "local")
    else:
        repo_id, sha = cached
        identity = Identity(repo_id, str(path), "local", sha, tokenizer_of(repo_id))
    return replace(identity, model_id=part.within(identity.model_id), part=part)


def _called(name: str, parent: Path) -> str:
    """What a local checkpoint is called: its name, or its folder's where that has only dots."""
    names = (name, parent.name)
    return plain(next((own for own in names if own.strip(". ")), "model"))


def tokenizer_of(repo_id: str) -> str | None:
    """The tokenizer that the catalog names for a repository."""
    entry = catalog.find(repo_id)
    return None if entry is None else entry.tokenizer
