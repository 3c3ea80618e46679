"""Arrow tables: their schemas, and runs of them in memory and on disk.

The names of this page are imported at first use: what declares a table needs no reader or writer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectrakit.tables.columns import IDENTITY, SCHEMA_VERSION, Column, TableSchema
    from spectrakit.tables.manifest import Manifest, WrittenFile
    from spectrakit.tables.reader import read_run
    from spectrakit.tables.replacing import check_apart, check_replaceable
    from spectrakit.tables.run import MemorySink, Run, Sink
    from spectrakit.tables.schemas import (
        LAYERS,
        QUERY_FACTOR,
        SPECTRUM,
        SPECTRUM_HISTOGRAM,
        SPECTRUM_SUMMARY,
    )
    from spectrakit.tables.writer import RunWriter

_HOME = {
    "IDENTITY": "columns",
    "LAYERS": "schemas",
    "QUERY_FACTOR": "schemas",
    "SCHEMA_VERSION": "columns",
    "SPECTRUM": "schemas",
    "SPECTRUM_HISTOGRAM": "schemas",
    "SPECTRUM_SUMMARY": "schemas",
    "Column": "columns",
    "Manifest": "manifest",
    "MemorySink": "run",
    "Run": "run",
    "RunWriter": "writer",
    "Sink": "run",
    "TableSchema": "columns",
    "WrittenFile": "manifest",
    "check_apart": "replacing",
    "check_replaceable": "replacing",
    "read_run": "reader",
}

__all__ = [
    "IDENTITY",
    "LAYERS",
    "QUERY_FACTOR",
    "SCHEMA_VERSION",
    "SPECTRUM",
    "SPECTRUM_HISTOGRAM",
    "SPECTRUM_SUMMARY",
    "Column",
    "Manifest",
    "MemorySink",
    "Run",
    "RunWriter",
    "Sink",
    "TableSchema",
    "WrittenFile",
    "check_apart",
    "check_replaceable",
    "read_run",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (loads a public name at first use)
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted(__all__)
