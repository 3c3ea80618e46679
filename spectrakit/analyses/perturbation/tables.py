"""The table of the `perturbation` analysis."""

from __future__ import annotations

from spectrakit.analyses.propagation.tables import DEPTH, ERROR, LONGEST, SEQUENCES
from spectrakit.tables.columns import Column, TableSchema

PERTURBATION = TableSchema(
    "perturbation",
    "a depth and a lag, with how large a small change of one token's state at depth 0 has become "
    "there, so many tokens later",
    (
        DEPTH,
        Column("lag", "int64", "Tokens after the one that was changed; 0 is that token.", "token"),
        Column("gain", "float64", "||change of h|| over ||change of h at depth 0||, a mean over "
               "sequences."),
        ERROR,
        Column("relative_gain", "float64", "The same, each change over the ||h|| it is a change "
               "of; null where one of them is 0.", nullable=True),
        Column("relative_standard_error", "float64", "Of the relative gain, over sequences; null "
               "for fewer than two.", nullable=True),
        Column("size", "float64", "||change|| over ||h|| at depth 0."),
        SEQUENCES,
        LONGEST,
    ),
)  # fmt: skip
