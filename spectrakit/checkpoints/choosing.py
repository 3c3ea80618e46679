"""Which of several models in a repository or folder is meant, where nobody says.

Older repositories are a list of checkpoints without a config, one a file, or one a folder.
"""

from __future__ import annotations

import logging
import re
import shlex
from typing import TYPE_CHECKING, TypeVar

from spectrakit.checkpoints.assembling import CONFIGS
from spectrakit.checkpoints.parts import Part
from spectrakit.checkpoints.shards import (
    DCP_METADATA,
    INDEX,
    NoWeightsError,
    SeveralFilesError,
    is_weights,
    weight_files,
)
from spectrakit.checkpoints.stores import Store
from spectrakit.errors import UnsupportedError
from spectrakit.wording import as_flags, given, per_door

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

logger = logging.getLogger("spectrakit")
S = TypeVar("S", bound=Store)

_SHOWN = 4
#: A day in the name of a file: 20220807, 2022-08-07.
_DAY = re.compile(r"(?<!\d)(20\d\d)[-_]?([01]\d)[-_]?([0-3]\d)(?!\d)")
_LONGEST_NUMBER = 19
_DIGITS = re.compile(r"(\d+)")


def meant(store: S, within: Part, name: str) -> S:
    """`store`, or the one file or folder of it that has the only model, where it has no config.

    within: what part of `name` the store is. Raises `UnsupportedError` that lists the models where
    there are several, with the line that reads one, and what `weight_files` raises.
    """
    try:
        weight_files(store, store.only)
    except (NoWeightsError, SeveralFilesError) as error:
        found = models_in(store.paths())
        if not found:
            raise
        return store.at(_sole(store, found, within, name, error))
    return store


def _sole(
    store: Store, found: Sequence[Part], within: Part, name: str, error: UnsupportedError
) -> Part:
    if len(found) == 1 and not store.names() & set(CONFIGS):
        logger.info("reading %s, the only model in %s", found[0].path, store.label)
        return found[0]
    newest = max(found, key=lambda part: _age(part.path or ""))
    line = _opening(name, _inside(within, newest))
    shown = ", ".join(str(part.path) for part in found[:_SHOWN])
    more = f", ... {newest.path}" if len(found) > _SHOWN else ""
    files = "files" if all(part.file for part in found) else "files and folders"
    if isinstance(error, NoWeightsError):
        message = f"{error.message}, but {shown}{more}"
    else:
        what = f"{len(found)} weight {files} ({shown}{more})"
        message = f"{store.label} has {what} and no index that joins them"
    several = UnsupportedError(message, hint=line)
    several.hint_is_typed = True
    raise several from error


def models_in(paths: Iterable[str]) -> list[Part]:
    """The models at these paths of files: folders with a config, an index or parts, else files."""
    folders: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, set()).add(name)
    found: list[Part] = []
    for folder, names in sorted(folders.items()):
        weights = sorted(filter(is_weights, names))
        one = names & set(CONFIGS) or any(name.endswith(INDEX) for name in names)
        if folder and (DCP_METADATA in names or (weights and one)):
            found.append(Part(None, folder))
        else:
            found += [Part(f"{folder}/{name}" if folder else name) for name in weights]
    return found


def _age(path: str) -> tuple[str, list[tuple[int, str]]]:
    """Later for the newer, as far as its name tells: by a day in it, then by its numbers."""
    days = ["".join(match) for match in _DAY.findall(path)]
    words = [
        (int(word), "") if word.isdecimal() and len(word) < _LONGEST_NUMBER else (-1, word)
        for word in _DIGITS.split(path)
    ]
    return max(days, default=""), words


def _inside(within: Part, part: Part) -> Part:
    """`part` of a part, as a part of the whole."""
    start = "" if within.subfolder is None else f"{within.subfolder}/"
    if part.file is not None:
        return Part(f"{start}{part.file}")
    return Part(None, f"{start}{part.subfolder}")


def _opening(name: str, part: Part) -> str:
    """What reads this part of `name`, as it is typed."""
    chosen: Mapping[str, str | None] = {"file": part.file, "subfolder": part.subfolder}
    said = {key: value for key, value in chosen.items() if value is not None}
    line = f"spectrakit inspect {shlex.quote(name)} {as_flags(**said)}"
    return per_door(line, f"open_checkpoint({name!r}, {given(**said)})")
