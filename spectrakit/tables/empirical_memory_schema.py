"""The table of what a model, driven as a black box, remembers."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema

EMPIRICAL_MEMORY = TableSchema(
    "empirical_memory",
    "a delay of a white input, read back from the residual stream at a depth, or from a mixer's "
    "output",
    (
        Column("driven_depth", "int32", "Where the input is put in place of the residual stream: 0 "
               "is where it enters the first block, l where it leaves the l-th. Null for a mixer.",
               nullable=True),
        Column("depth", "int32", "Where it is read back. Null for a mixer.", nullable=True),
        Column("layer", "int32", "Layer whose mixer alone is driven, in place of what the model "
               "hands it, and read back from its output; null for depths.", nullable=True),
        Column("delay", "int64", "How long ago the input was.", "token"),
        Column("value", "float64", "Share of the input's variance that a linear read-out recovers "
               "on sequences it was not fitted to, corrected for the number of its features; noise "
               "around zero where nothing is recovered.", nullable=True),
        Column("threshold", "float64", "What read-outs of unrelated signals hardly reach: mean and "
               "four standard deviations.", nullable=True),
        Column("samples", "int64", "Tokens the read-out was fitted to.", "token", nullable=True),
        Column("dimension", "float64", "Features of the read-out that count.", nullable=True),
        Column("reason", "string", "Why there is no value; null where there is one.",
               nullable=True),
    ),
)  # fmt: skip
