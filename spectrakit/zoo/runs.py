"""Whether a run is there and whole, told from its `run.json` and the ends of its tables alone.

For thousands of runs: no row is read, nothing is hashed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from spectrakit.tables.columns import SCHEMA_VERSION
from spectrakit.tables.folders import MANIFEST, is_plain_name

#: What a Parquet file begins and ends with, and the least that is between: a footer and its length.
_MAGIC, _LEAST = b"PAR1", 12
#: Bytes; what is larger was not written by a run.
_LARGEST_MANIFEST = 1 << 24


def finished_run(folder: Path, key: str | None = None) -> dict[str, Any] | None:
    """The record of the run in `folder`, with today's tables; None where none is whole.

    key: the one it must have (`spectrakit.zoo.keys`); None for any.
    """
    record = whole_record(folder)
    if record is None or record.get("schema_version") != SCHEMA_VERSION:
        return None
    return record if key is None or record.get("key") == key else None


def whole_record(folder: Path) -> dict[str, Any] | None:
    """The record of the run in `folder`, as its `run.json` has it, if every file it names is there.

    A table must be of the size that the run wrote, and begin and end as Parquet does.
    """
    try:
        record = _record(f"{folder}{os.sep}{MANIFEST}")
        tables, files = record["tables"], record["files"]
        names = [file["file"] for file in (*tables.values(), *files.values())]
        whole = (
            bool(tables)
            and all(map(is_plain_name, names))
            # Others find a table by its name.
            and all(table["file"] == f"{name}.parquet" for name, table in tables.items())
            and all(_is_there(folder, file) for file in files.values())
            and all(_is_there(folder, table, parquet=True) for table in tables.values())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if whole else None


def _record(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:  # noqa: PTH123  (ten thousand `Path`s take a second)
        content = file.read(_LARGEST_MANIFEST + 1)
    if len(content) > _LARGEST_MANIFEST:
        raise ValueError(path)
    record: dict[str, Any] = json.loads(content)
    return record


def _is_there(folder: Path, written: dict[str, Any], *, parquet: bool = False) -> bool:
    """Whether a file has its size, and a table a footer where its end says that it is."""
    path = f"{folder}{os.sep}{written['file']}"
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        size = os.fstat(file.fileno()).st_size
        if size != written["bytes"] or not parquet:
            return bool(size == written["bytes"])
        begin = file.read(4)
        file.seek(max(size - 8, 0))
        end = file.read(8)
    footer = int.from_bytes(end[:4], "little")
    return begin == _MAGIC == end[4:] and 0 < footer <= size - _LEAST
