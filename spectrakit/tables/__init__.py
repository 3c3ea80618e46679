"""Arrow tables: their schemas, and runs of them in memory and on disk."""

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
