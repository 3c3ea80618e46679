"""Files of records, one JSON object a line, packed with gzip or not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectrakit.errors import MalformedError, UsageError

_GZIP = b"\x1f\x8b"


def read_records(path: Path) -> list[Mapping[str, Any]]:
    """Every record of the file.

    Raises UsageError where there is no such file, MalformedError where it is not one of records.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        message = f"cannot read the prompt file {path}: {error.strerror}"
        raise UsageError(message) from error
    try:
        text = (gzip.decompress(packed) if packed.startswith(_GZIP) else packed).decode("utf-8")
    except (OSError, EOFError, ValueError) as error:
        message = f"{path} is neither UTF-8 text nor such text packed with gzip: {error}"
        raise MalformedError(message) from error
    records: list[Mapping[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise malformed(path, number, f"no JSON: {error}") from error
        if not isinstance(record, dict):
            raise malformed(path, number, "no JSON object")
        records.append(record)
    if not records:
        message = f"{path} holds no record"
        raise MalformedError(message)
    return records


def field(path: Path, number: int, record: Mapping[str, Any], key: str, kind: type) -> Any:  # noqa: ANN401
    """`record[key]`, which must be of `kind` and not empty. number: of the record, from 1.

    Raises MalformedError otherwise.
    """
    value = record.get(key)
    if not isinstance(value, kind) or not value:
        raise malformed(path, number, f"its {key!r} is {str(value)[:40]!r}")
    return value


def malformed(path: Path, number: int, what: str) -> MalformedError:
    """The error that says what is wrong with a record."""
    message = f"record {number} of {path.name}: {what}"
    return MalformedError(message, hint="one JSON object a line, as in lost-in-the-middle's files")
