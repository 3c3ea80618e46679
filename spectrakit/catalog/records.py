"""What a Hub was seen to have of the catalog's entries, and when: `verified.json`.

    {"format": 1, "records": {"mamba-130m": {"repo": "state-spaces/mamba-130m", ...}}}

One is beside the catalog that ships, one in the user's folder; of two records of an entry the later
counts. Written by `spectrakit.verification`.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.catalog.places import folder, own_folder
from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.errors import MalformedError
from spectrakit.plain import plain

if TYPE_CHECKING:
    from spectrakit.catalog.entries import CatalogEntry

logger = logging.getLogger("spectrakit")

RECORDS = "verified.json"
FORMAT = 1
_MOST_BYTES = 16 << 20
_LONGEST_TEXT = 2000
_FORMS = {
    "commit": re.compile(r"[0-9a-f]{40}"),
    "headers": re.compile(r"headers-[0-9a-f]{12}"),
    "checked": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII),
}


@dataclass(frozen=True)
class Record:
    """What was seen of one repository. None stands for what could not be seen.

    repo, file: as the entry has them. endpoint: of the Hub that was asked. checked: when, UTC.
    commit: of its default branch. headers: the fingerprint of its config and tensor index.
    architecture: the one that claimed it. families: what the catalog may call its family. layers:
    their number; kinds: without repetition. parameters: their number in the files. weights_bytes:
    bytes of tensors that weights mode reads. problems: how it differed from the entry, or from the
    record before, whose commit and headers are then kept.
    """

    repo: str
    endpoint: str
    checked: str
    commit: str | None = None
    headers: str | None = None
    architecture: str | None = None
    families: tuple[str, ...] = ()
    layers: int | None = None
    kinds: tuple[str, ...] = ()
    parameters: int | None = None
    weights_bytes: int | None = None
    license: str | None = None
    gated: bool | None = None
    problems: tuple[str, ...] = ()
    file: str | None = None


def record_of(entry: CatalogEntry) -> Record | None:
    """The last that was seen of this entry's repository; None where it was never verified.

    A damaged file of the user's is named in a warning, and counts as none. Raises `MalformedError`
    where the one that ships is damaged.
    """
    if entry.repo is None:
        return None
    stored = (_shipped(folder()).get(entry.name), _own(own_folder()).get(entry.name))
    found = [record for record in stored if record is not None and is_of(record, entry)]
    return max(found, key=lambda record: record.checked, default=None)


def is_of(record: Record, entry: CatalogEntry) -> bool:
    """Whether `record` is of what the entry is now, not of what its name was given to before."""
    return (record.repo, record.file) == (entry.repo, entry.file)


def read_records(catalog: Path) -> dict[str, Record]:
    """The records of a catalog's folder, by name of the entry. Raises `MalformedError`."""
    path = catalog / RECORDS
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"too large: more than {_MOST_BYTES:,} bytes")
        return parse_records(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"the catalog's records {path}: {reason}"
        raise MalformedError(message, hint=f"move {path} away") from error


def parse_records(text: str) -> dict[str, Record]:
    """The records in `text`. Raises ValueError that says what is wrong."""
    document = json.loads(text)
    if not isinstance(document, dict) or set(document) != {"format", "records"}:
        raise ValueError("it must hold format and records, and nothing else")
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r} is not one that is known here: {FORMAT}")
    if not isinstance(document["records"], dict):
        raise ValueError("its records are not keys and values")
    return {name: _record(name, each) for name, each in document["records"].items()}


def written(records: Mapping[str, Record]) -> str:
    """The text of a file of these records, which `parse_records` reads."""
    kept = {name: _without_unknown(records[name]) for name in sorted(records)}
    document = {"format": FORMAT, "records": kept}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def forget_records() -> None:
    """Read the user's records again when they are asked for next: they were written."""
    _own.cache_clear()
    _shipped.cache_clear()


def _without_unknown(record: Record) -> dict[str, Any]:
    return {key: value for key, value in asdict(record).items() if value not in (None, ())}


@functools.cache
def _shipped(catalog: Path) -> dict[str, Record]:
    return read_records(catalog)


@functools.cache
def _own(own: Path) -> dict[str, Record]:
    try:
        return read_records(own)
    except MalformedError as error:
        logger.warning("your own records of the catalog are left out: %s", error.message)
        return {}


def _record(name: str, values: object) -> Record:
    if not isinstance(values, dict):
        raise ValueError(f"the record of {name!r} is not keys and values")
    types = {field.name: str(field.type) for field in fields(Record)}
    for key, value in values.items():
        if key not in types:
            raise ValueError(f"the record of {name!r} has an unknown key {key!r}")
        if not _is_of_type(value, types[key]) or not _is_of_form(key, value):
            raise ValueError(f"{key} in the record of {name!r} is {value!r}")
    for key in ("repo", "endpoint", "checked"):
        if key not in values:
            raise ValueError(f"the record of {name!r} has no {key}")
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Record(**(values | lists))


def _is_of_type(value: object, annotation: str) -> bool:
    """Whether `value` is one that a field of this annotation holds, as JSON has it."""
    if annotation.startswith("tuple"):
        return isinstance(value, list) and all(_is_text(each) for each in value)
    if annotation.startswith("str"):
        return _is_text(value)
    kind = bool if annotation.startswith("bool") else int
    return type(value) is kind and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT and plain(value) == value


def _is_of_form(key: str, value: Any) -> bool:  # noqa: ANN401  (of every type that JSON has)
    if key == "repo":
        return is_repo_id(value)
    return key not in _FORMS or _FORMS[key].fullmatch(value) is not None
