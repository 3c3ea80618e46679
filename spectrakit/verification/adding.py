"""Adding a model of a Hub to the catalog: what is said of it comes from the Hub and its headers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spectrakit.catalog import CatalogEntry, entries, find
from spectrakit.catalog.files import check_name
from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.catalog.sizes import size_of
from spectrakit.checkpoints.opening import repo_and_path
from spectrakit.checkpoints.shards import FORMATS
from spectrakit.errors import UsageError
from spectrakit.verification.seeing import see
from spectrakit.verification.writing import record, write_entry
from spectrakit.wording import given

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.catalog.records import Record
    from spectrakit.checkpoints.access import HubAccess


@dataclass(frozen=True)
class Added:
    """An entry that was added, the file it is in now, and what was seen of it."""

    entry: CatalogEntry
    path: Path
    record: Record


@dataclass(frozen=True)
class Told:
    """What the user says of an entry to be added; None: what the Hub says."""

    name: str | None = None
    description: str | None = None
    tokenizer: str | None = None
    config: tuple[str, ...] = ()


def add(repo: str, access: HubAccess, *, into: Path, told: Told, own: bool = True) -> Added:
    """Add the Hub's `repo` to the catalog's folder `into`, and record what was seen of it.

    repo: `org/name`, or `org/name/file.pth` for one weight file of it. own: whether it is the
    user's folder.

    Raises `UsageError` for what is no repository, and for one or a name that is in the catalog
    already; `UnsupportedError` where nothing here reads it; and what `open_checkpoint` raises.
    """
    repo, file = repo_and_path(f"hf://{repo.removeprefix('hf://')}")
    if not is_repo_id(repo):
        raise UsageError(
            f"{repo!r} is not the id of a Hub repository", hint="spectrakit catalog add ORG/NAME"
        )
    if file is None:
        _check_is_new(repo, repo)
    usual = _name_of(file or repo)
    name = told.name or usual
    _check_name(name, repo, usual)
    if told.tokenizer is not None and not is_repo_id(told.tokenizer):
        raise UsageError(f"{told.tokenizer!r} is not the id of a Hub repository")
    sight = see(repo, access, file, told.config)
    if sight.error is not None:
        raise sight.error
    entry = replace(_entry(name, repo, sight.record, told), own=own)
    path = write_entry(into, entry)
    record(into, name, sight.record)
    return Added(entry, path, sight.record)


def _check_is_new(name: str, repo: str) -> None:
    known = find(name)
    if known is not None:
        raise UsageError(
            f"the catalog has {known.repo or 'a bundled model'} already, as {known.name}",
            hint=f"spectrakit catalog show {known.name}"
            + ("" if known.repo == repo else f", or another {given(name='NAME')}"),
        )


def _check_name(name: str, repo: str, usual: str) -> None:
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(str(error), hint=given(name=usual)) from error
    _check_is_new(name, repo)


def _name_of(path: str) -> str:
    """The last of a path's names, in the letters that names of the catalog have."""
    own = path.rpartition("/")[2].lower()
    for extension in FORMATS:
        own = own.removesuffix(extension)
    return re.sub(r"[^a-z0-9._-]", "-", own).strip("-._") or "model"


def _entry(name: str, repo: str, seen: Record, told: Told) -> CatalogEntry:
    layers = f"{seen.layers} layers of {' and '.join(seen.kinds)}"
    return CatalogEntry(
        name=name,
        family=_family(seen),
        description=told.description or f"{layers}, {size_of(seen.parameters or 0)} parameters",
        source=repo,
        file=seen.file,
        config=told.config,
        origin="hub",
        license=seen.license,
        format="transformers" if str(seen.architecture).startswith("transformers-") else None,
        tokenizer=told.tokenizer,
        parameters=seen.parameters,
        gated=seen.gated,
        weights_bytes=seen.weights_bytes,
        page=f"{seen.endpoint}/{repo}",
    )


def _family(seen: Record) -> str:
    """The family that the catalog has already, or else the first that a file can be called by."""
    known = {entry.family for entry in entries()}
    usable = [family for family in seen.families if _is_name(family)]
    return next((family for family in usable if family in known), usable[0])


def _is_name(family: str) -> bool:
    try:
        check_name(family)
    except ValueError:
        return False
    return True
