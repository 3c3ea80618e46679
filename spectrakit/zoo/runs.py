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


def finished_run(folder: Path, key: str | None = None) -> dict[str, Any] | None:
    """The record of the run in `folder`, as its `run.json` has it; None where none is whole.

    key: the one it must have (`spectrakit.zoo.keys`); None for any.
    """
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
        if record["schema_version"] != SCHEMA_VERSION or (key is not None and record["key"] != key):
            return None
        tables = list(record["tables"].values())
        files = [*tables, *record["files"].values()]
        sizes = {written["file"]: written["bytes"] for written in files}
        whole = all(is_plain_name(name) and _has(folder / name, sizes[name]) for name in sizes)
        whole = whole and all(_ends_as_parquet(folder / table["file"]) for table in tables)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if whole and tables else None


def _has(path: Path, size: int) -> bool:
    return path.stat().st_size == size


def _ends_as_parquet(path: Path) -> bool:
    """Whether there is a footer where the end of the file says that it is."""
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            return False
        size = file.seek(-8, os.SEEK_END) + 8
        end = file.read(8)
    footer = int.from_bytes(end[:4], "little")
    return end[4:] == _MAGIC and 0 < footer <= size - _LEAST
