"""The table of what a model, driven as a black box, remembers."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema

EMPIRICAL_REASONS = {
    "too-few-tokens": "there are too few sequences or tokens to fit read-outs to some and score "
    "them on others",
    "noise": "read-outs of unrelated signals reach one, so that nothing could be told from noise",
    "unknown-b-or-c": "weights alone do not determine B and C",
}
"""Why a place has no value, by code."""
_REASONS = "; ".join(f"{code}: {meaning}" for code, meaning in EMPIRICAL_REASONS.items())

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
               "four standard deviations of 32 of them.", nullable=True),
        Column("remembered", "bool", "Whether value exceeds threshold here and at every shorter "
               "delay back to the largest value: from there, the last delay before the first fall "
               "below the threshold is the last that is true. What exceeds it later is not told "
               "from noise.", nullable=True),
        Column("samples", "int64", "Tokens that were scored, each once, by a read-out fitted to "
               "other sequences.", "token", nullable=True),
        Column("dimension", "float64", "Features of the read-out that count, given its ridge.",
               nullable=True),
        Column("ridge", "float64", "The ridge of the read-out, relative to the variance of a "
               "standardised feature, chosen on sequences that it is neither fitted to nor scored "
               "on; inf predicts the mean.", nullable=True),
        Column("reason", "string", f"Why there is no value, null where there is one. {_REASONS}.",
               nullable=True),
    ),
)  # fmt: skip
