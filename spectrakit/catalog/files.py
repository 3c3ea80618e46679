"""Reading family files: `models/FAMILY.toml`, strictly.

    family = "falcon_mamba"
    [models.falcon-mamba-7b]
    description = "..."
    repo = "tiiuae/falcon-mamba-7b"

A key that is unknown, a value of another type and text that no terminal should be shown are errors
that name the file and the entry.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from spectrakit.catalog.assignments import values_of
from spectrakit.catalog.entries import CatalogEntry, Family
from spectrakit.catalog.places import MODELS
from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.errors import MalformedError
from spectrakit.plain import plain
from spectrakit.wording import did_you_mean

T = TypeVar("T")

#: No family file is larger; one that is was meant for something else.
MOST_BYTES = 1 << 20
#: Nor is a catalog of more files.
MOST_FILES = 4096
_LONGEST_TEXT = 500
_MOST_PARAMETERS = 10**15
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}", re.ASCII)
_PAGE = re.compile(r"https?://[!-~]+")


def read_folder(catalog: Path, *, own: bool = False) -> tuple[Family, ...]:
    """The families of the catalog `catalog`, by file name; none where it has no `models/`.

    Raises `MalformedError` for a file that is damaged, and for a name that two entries have.
    """
    found = tuple(read_family(path, own=own) for path in family_files(catalog))
    seen: dict[str, str] = {}
    for family in found:
        for entry in family.entries:
            for key in {entry.name, entry.address.removeprefix("hf://")}:
                if key in seen:
                    files = f"{seen[key]}.toml and {family.name}.toml"
                    raise MalformedError(f"the catalog {catalog} has {key} twice: in {files}")
                seen[key] = family.name
    return found


def family_files(catalog: Path) -> list[Path]:
    """The files of a catalog's families, by name. Raises `MalformedError` for far too many."""
    try:
        paths = sorted((catalog / MODELS).glob("*.toml"))
    except OSError as error:
        raise MalformedError(f"the catalog {catalog} cannot be read: {error.strerror}") from error
    if len(paths) > MOST_FILES:
        raise MalformedError(f"the catalog {catalog} has {len(paths):,} files, far too many")
    return paths


def read_family(path: Path, *, own: bool = False) -> Family:
    """The family of one file; own: whether its entries are the user's. Raises `MalformedError`."""
    try:
        return parse_family(_text(path), path.stem, own=own)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MalformedError(
            f"the catalog file {path}: {reason}",
            hint=f"correct {path}, or move it away" if own else None,
        ) from error


def parse_family(text: str, name: str, *, own: bool = False) -> Family:
    """The family `name` of a file that holds `text`. Raises ValueError that says what is wrong."""
    record = tomllib.loads(text)
    _check_keys(record, ("family", "no_public_model", "models"), "it")
    _of_type(record, "family", str, "it")
    if record.get("family") != name:
        raise ValueError(f"family is {record.get('family')!r}, its name says {name!r}")
    models = _of_type(record, "models", dict, "it") or {}
    reason = _line(record, "no_public_model", "it")
    if not models and reason is None:
        raise ValueError("it has neither models nor no_public_model, which says why")
    return Family(name, tuple(_entry(each, models[each], name, own) for each in models), reason)


def _text(path: Path) -> str:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"too large: more than {MOST_BYTES:,} bytes")
    return path.read_text(encoding="utf-8")


def check_name(name: str) -> None:
    """Raise ValueError unless an entry may have this name."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{name!r} is not a name of lower-case letters, digits, '.', '-' and '_'")


_KEYS = (
    "description",
    "repo",
    "folder",
    "file",
    "config",
    "format",
    "parameters",
    "license",
    "gated",
    "tokenizer",
    "weights_bytes",
    "smallest",
    "counterpart_of",
    "source",
    "source_note",
)


def _entry(name: str, model: object, family: str, own: bool) -> CatalogEntry:
    check_name(name)
    if not isinstance(model, dict):
        raise ValueError(f"{name} is not a table of keys and values")
    _check_keys(model, _KEYS, name)
    if ("repo" in model) == ("folder" in model):
        raise ValueError(f"{name} needs either repo or folder")
    description = _line(model, "description", name)
    if description is None:
        raise ValueError(f"{name} has no description")
    repo = _checked(model, "repo", name, is_repo_id, "a repository's id")
    folder = _checked(model, "folder", name, _is_inside, "a folder inside the catalog")
    if own and folder is not None:
        raise ValueError(f"{name}: an entry of one's own needs repo, not folder")
    if folder is not None and model.keys() & {"file", "config"}:
        raise ValueError(f"{name}: file and config are of a repo, and it has folder")
    return CatalogEntry(
        name=name,
        family=family,
        description=description,
        source=repo or folder or "",
        origin="hub" if repo is not None else "bundled",
        tokenizer=_checked(model, "tokenizer", name, is_repo_id, "a repository's id"),
        license=_line(model, "license", name),
        format=_line(model, "format", name),
        parameters=_count(model, "parameters", name, at_least=1),
        gated=_of_type(model, "gated", bool, name),
        weights_bytes=_count(model, "weights_bytes", name, at_least=0),
        smallest=_of_type(model, "smallest", bool, name) or False,
        counterpart_of=_names(model, "counterpart_of", name),
        page=_checked(model, "source", name, _is_page, "the address of a page"),
        page_note=_line(model, "source_note", name),
        own=own,
        file=_checked(model, "file", name, _is_inside, "a file of the repository"),
        config=_assignments(model, "config", name),
    )


def _check_keys(record: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in record:
        if key not in known:
            near = did_you_mean(key, known)
            raise ValueError(f"{where} has an unknown key {key!r}{f'; {near}' if near else ''}")


def _of_type(record: Mapping[str, Any], key: str, kind: type[T], where: str) -> T | None:
    value = record.get(key)
    if value is None:
        return None
    if type(value) is not kind:  # true is no number
        words = {str: "a text", bool: "true or false", int: "a whole number", list: "a list"}
        raise ValueError(f"{key} of {where} must be {words.get(kind, 'a table')}, not {value!r}")
    return value


def _line(record: Mapping[str, Any], key: str, where: str) -> str | None:
    """A text of one line that can be shown as it is, None without one."""
    text = _of_type(record, key, str, where)
    if text is None:
        return None
    if not text.strip() or len(text) > _LONGEST_TEXT or plain(text) != text:
        message = f"{key} of {where} must be one line of at most {_LONGEST_TEXT} characters"
        raise ValueError(f"{message} that can be shown, not {text[:40]!r}")
    return text


def _checked(
    record: Mapping[str, Any], key: str, where: str, is_one: Callable[[str], bool], what: str
) -> str | None:
    text = _line(record, key, where)
    if text is not None and not is_one(text):
        raise ValueError(f"{key} of {where} is not {what}: {text!r}")
    return text


def _is_inside(folder: str) -> bool:
    parts = PurePosixPath(folder).parts
    return bool(re.fullmatch(r"[A-Za-z0-9._/-]+", folder)) and not {"..", "/"} & set(parts)


def _is_page(address: str) -> bool:
    return _PAGE.fullmatch(address) is not None


def _count(record: Mapping[str, Any], key: str, where: str, at_least: int) -> int | None:
    count = _of_type(record, key, int, where)
    if count is not None and not at_least <= count <= _MOST_PARAMETERS:
        raise ValueError(f"{key} of {where} is {count}, which no model has")
    return count


def _assignments(record: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    texts = _of_type(record, key, list, where) or []
    for text in texts:
        _line({key: text}, key, where)
    values_of(texts)
    return tuple(texts)


def _names(record: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    names = _of_type(record, key, list, where) or []
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{key} of {where} must be names of entries, not {name!r}")
    return tuple(names)
