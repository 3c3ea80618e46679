"""The table of what layers remember while they learn."""

from __future__ import annotations

from spectrakit.analyses.memory.tables import MEMORY_SUMMARY
from spectrakit.tables.columns import TableSchema
from spectrakit.tables.training_schemas import STEP

TRAINING_MEMORY = TableSchema(
    "training_memory",
    "a layer, or a head of it, at a step of training: its memory as `memory_summary` has it",
    (STEP, *MEMORY_SUMMARY.columns),
)
