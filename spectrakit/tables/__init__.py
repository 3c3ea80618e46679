"""Arrow tables: their schemas, and runs of them in memory and on disk."""

from spectrakit.tables.columns import IDENTITY, SCHEMA_VERSION, Column, TableSchema
from spectrakit.tables.manifest import Manifest, WrittenFile
from spectrakit.tables.reader import read_run
from spectrakit.tables.replacing import check_apart, check_replaceable
from spectrakit.tables.run import MemorySink, Run, Sink
from spectrakit.tables.schemas import (
    DECAY_KERNEL,
    DECAY_KERNEL_SUMMARY,
    LAYERS,
    LYAPUNOV,
    QUERY_FACTOR,
    RELEASED_BINS,
    SPECTRUM,
    SPECTRUM_HISTOGRAM,
    SPECTRUM_SUMMARY,
    TABLES,
)
from spectrakit.tables.similarity_schema import SIMILARITY
from spectrakit.tables.writer import RunWriter

__all__ = [
    "DECAY_KERNEL",
    "DECAY_KERNEL_SUMMARY",
    "IDENTITY",
    "LAYERS",
    "LYAPUNOV",
    "QUERY_FACTOR",
    "RELEASED_BINS",
    "SCHEMA_VERSION",
    "SIMILARITY",
    "SPECTRUM",
    "SPECTRUM_HISTOGRAM",
    "SPECTRUM_SUMMARY",
    "TABLES",
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
