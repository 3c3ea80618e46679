"""The tables of the `kernel` analysis."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema
from spectrakit.tables.label_columns import HEAD_OR_ALL, LABELS, LAYER

_OF_INPUTS = Column("token_set", "string", "Input tokens that are counted: all, or without_first, "
                    "all but the first of each sequence, on which attention may park unused "
                    "weight. Weights mode, which has no sequences: all.")  # fmt: skip

DECAY_KERNEL = TableSchema(
    "decay_kernel",
    "a bin of lags, with how strongly a layer or head carries an input over them; from at most 32 "
    "outputs of every sequence, each counted as often as outputs it stands for, and all tokens up "
    "to them; the first output of a sequence is left out (weights mode: from the last of 1024 "
    "tokens); of a layer of channels, from at most 64 of them, spread evenly",
    (
        LAYER,
        HEAD_OR_ALL,
        *LABELS[1:],
        _OF_INPUTS,
        Column("lag_low", "int64", "Smallest lag of the bin; 0 is the token itself.", "token"),
        Column("lag_high", "int64", "Largest lag of the bin.", "token"),
        Column("pairs", "int64", "Pairs of tokens that were looked at."),
        Column("mass", "float64", "What inputs at these lags contribute to an output: "
               "|C_t A_t ... A_{s+1} B_s| summed over the pairs and divided by the outputs; the "
               "same in every gauge. Over all lags, softmax attention has one, less what its "
               "learned sinks take."),
        Column("kernel_mean", "float64", "Mean |C_t A_t ... A_{s+1} B_s| of the pairs at these "
               "lags t - s: the same in every gauge. Softmax attention: the attention weight."),
        Column("log_decay_mean", "float64", "Mean over the pairs of the sum of mean log|lambda| "
               "of the tokens between, in this gauge."),
    ),
)  # fmt: skip

DECAY_KERNEL_SUMMARY = TableSchema(
    "decay_kernel_summary",
    "a layer or head, with how its kernel |C_t A_t ... A_{s+1} B_s| is spread over lags and how "
    "much of it falls on sinks; of the outputs of `decay_kernel`",
    (
        LAYER,
        HEAD_OR_ALL,
        *LABELS[1:],
        _OF_INPUTS,
        Column("outputs", "int64", "Outputs that those looked at stand for; null in weights mode.",
               "token", nullable=True),
        Column("mass", "float64", "The kernel summed over all inputs, an output's mean: the sum of "
               "`mass` in `decay_kernel`."),
        Column("mass_lag_0", "float64", "What an output has of its own token."),
        Column("mass_lag_1", "float64", "What it has of the token before."),
        Column("lag_50", "int64", "Smallest lag up to which half of the mass lies; from 1,024 on "
               "within 1.1 %. Null where there is no mass.", "token", nullable=True),
        Column("lag_90", "int64", "The same of 90 % of the mass.", "token", nullable=True),
        Column("first_token_share", "float64", "Share of the mass of all inputs that each "
               "sequence's first token has: of softmax attention the attention sink. Null in "
               "weights mode.", "fraction", nullable=True),
        Column("learned_sink_share", "float64", "Share of the normaliser that learned sinks have, "
               "an output's mean: 0 for softmax attention without any, null for other layers.",
               "fraction", nullable=True),
    ),
)  # fmt: skip
