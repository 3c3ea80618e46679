"""What a new run may take the place of: an earlier run of the same, or what the user says."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit.errors import MalformedError, UsageError
from spectrakit.tables.folders import MANIFEST
from spectrakit.tables.reader import read_manifest
from spectrakit.token_options import STANDARD_INPUT
from spectrakit.wording import given, named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spectrakit.tables.manifest import Manifest

logger = logging.getLogger("spectrakit")


def _hint() -> str:
    return f"another folder with {named('out')}, or {given(overwrite=True)} to replace it"


def check_replaceable(folder: Path, manifest: Manifest, *, overwrite: bool) -> None:
    """Raise UsageError where `folder` holds another run than that of `manifest`.

    The same run, of the same model, revision, mode and options, may always be made again. With
    `overwrite` any run may be replaced, and a note says which.
    """
    try:
        earlier = read_manifest(folder)
    except UsageError:  # there is no finished run
        return
    except MalformedError as error:
        if not overwrite:
            raise UsageError(f"{error.message}; it is not replaced", hint=_hint()) from error
        logger.info("%s takes the place of one that cannot be read", folder / MANIFEST)
        return
    if _settings(earlier) == _settings(manifest) and not _told_once(earlier):
        return
    tables = ", ".join(name for name in earlier.tables if name != "layers")
    held = f"{folder} holds a run of {earlier.model_id} ({tables})"
    if not overwrite:
        other = _differing(earlier, manifest) if earlier.model_id == manifest.model_id else ()
        told = f" with another {' and '.join(other)}" if other else ""
        if _told_once(earlier):
            told += " of a text from standard input"
        raise UsageError(f"{held}{told}", hint=_hint())
    logger.info("%s; this one takes its place", held)


def check_apart(out: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError where `out` is one of the folders `inputs`, contains one or lies in one."""
    where = out.resolve()
    for folder in inputs:
        other = folder.resolve()
        if where == other or (out.exists() and folder.exists() and out.samefile(folder)):
            relation = "is"
        elif other.is_relative_to(where):
            relation = "contains"
        elif where.is_relative_to(other):
            relation = "lies in"
        else:
            continue
        message = f"{given(out=out)} {relation} one of the runs that are compared, {folder}"
        raise UsageError(message, hint=f"another folder with {named('out')}")


def _settings(manifest: Manifest) -> str:
    """Everything that decides a run's numbers, as one text; files count by their content."""
    told = (manifest.model_id, manifest.revision, manifest.mode, manifest.dtype, manifest.seed)
    settings = manifest.settings() | dict(manifest.contents)
    return json.dumps([*told, settings], sort_keys=True, default=str)


def _differing(earlier: Manifest, manifest: Manifest) -> list[str]:
    """The settings in which two runs of one model differ, by name."""
    own, theirs = (
        {"revision": each.revision, **each.settings(), **each.contents}
        for each in (earlier, manifest)
    )
    names = [*own, *(name for name in theirs if name not in own)]
    return [named(name) for name in names if own.get(name) != theirs.get(name)]


def _told_once(manifest: Manifest) -> bool:
    """Whether the text came from standard input: nobody can say that it was the same."""
    return manifest.settings().get("text") == STANDARD_INPUT
