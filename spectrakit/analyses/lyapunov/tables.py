"""The table of the `lyapunov` analysis."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema
from spectrakit.tables.label_columns import HEAD, LABELS, LAYER

LYAPUNOV = TableSchema(
    "lyapunov",
    "a Lyapunov exponent of the product of a layer's transitions, with its multiplicity",
    (
        LAYER,
        HEAD,
        Column("channel", "int32", "Channel; null where one exponent serves all channels.",
               nullable=True),
        Column("index", "int32", "Position among the exponents of the head or channel, from 0 for "
               "the largest: the slowest to decay."),
        *LABELS[1:],
        Column("exponent", "float64", "log of the singular value of a sequence's product "
               "A_T ... A_1 at this index, over T: the mean over sequences, weighted by their "
               "tokens, without those where it is zero; -inf where it is zero in all. log|lambda| "
               "where A does not depend on tokens.", "1/step"),
        Column("timescale_steps", "float64", "-1 / exponent, inf for a direction that never "
               "decays.", "step"),
        Column("multiplicity", "int64", "How many exponents of the layer this row stands for."),
        Column("tokens", "int64", "Transitions of all sequences; null where A does not depend on "
               "tokens.", nullable=True),
        Column("sequences", "int64", "Sequences: products that the exponents are averaged over; "
               "null likewise.", nullable=True),
        Column("erased", "int64", "Sequences in which the singular value is exactly zero: an "
               "exponent of -inf, which the mean leaves out. Null likewise.", nullable=True),
        Column("last_change", "float64", "How far the exponents of a sequence of this head moved "
               "in the last sweep, at most: below 1e-6 they have converged. 0 where they have a "
               "closed form (A_t that commute).", "1/step"),
        Column("sweeps", "int32", "Sweeps through a sequence's transitions that it took, at most "
               "20; 0 where the exponents have a closed form."),
    ),
)  # fmt: skip
