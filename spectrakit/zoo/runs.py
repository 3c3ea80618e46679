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
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            return None
        record = json.loads(path.read_bytes())
        tables = record["tables"]
        written = [*tables.values(), *record["files"].values()]
        whole = (
            bool(tables)
            and all(is_plain_name(file["file"]) for file in written)
            and all((folder / file["file"]).stat().st_size == file["bytes"] for file in written)
            # Others find a table by its name.
            and all(table["file"] == f"{name}.parquet" for name, table in tables.items())
            and all(_ends_as_parquet(folder / table["file"]) for table in tables.values())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if whole else None


def _ends_as_parquet(path: Path) -> bool:
    """Whether there is a footer where the end of the file says that it is."""
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            return False
        size = file.seek(-8, os.SEEK_END) + 8
        end = file.read(8)
    footer = int.from_bytes(end[:4], "little")
    return end[4:] == _MAGIC and 0 < footer <= size - _LEAST
