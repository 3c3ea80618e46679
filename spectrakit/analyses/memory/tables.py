"""The tables of the `memory` analysis."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema

_WHICH = (
    Column("layer", "int32", "Index of the layer in the model, from 0."),
    Column("head", "int32", "Head of the layer; null for the mean of the layer, and for a channel.",
           nullable=True),
    Column("channel", "int32", "Channel of the layer; null for the mean of the layer, and for a "
           "head.", nullable=True),
    Column("mode", "string", "static (exact from weights), nominal (input-dependent A at its bias, "
           "B the same at every token) or data (observed on tokens)."),
    Column("past", "string", "The inputs it is about: infinite (all there ever were), horizon (the "
           "last `horizon` tokens, none before) or sequence (those of the sequences that were "
           "seen)."),
    Column("precision", "string", "exact, or the type the state is rounded to at every token: "
           "bfloat16, float16, float32."),
)  # fmt: skip

MEMORY_FUNCTION = TableSchema(
    "memory_function",
    "a delay, with the share of the variance of an input that a layer, head or channel can tell so "
    "many tokens later from its state",
    (
        *_WHICH,
        Column("delay", "int64", "Tokens since the input; 0 is the token itself.", "token"),
        Column("memory", "float64", "MF(delay): R^2 of the best linear read-out of a white input "
               "from the state. The sum over the inputs where a head has several (S5, LRU). Where "
               "it was observed on tokens: the mean over the delays up to the next row's."),
        Column("capacity_below", "float64", "Sum of MF over all delays below this one."),
        Column("samples", "int64", "Tokens at which it was observed; null where it is fixed.",
               nullable=True),
    ),
)  # fmt: skip

MEMORY_SUMMARY = TableSchema(
    "memory_summary",
    "a layer, head or channel, with how far back and how much its state remembers",
    (
        *_WHICH,
        Column("systems", "int64", "Heads or channels the row is the mean of."),
        Column("inputs", "int64", "Inputs of each; the sum of their MF is meant.", nullable=True),
        Column("rank", "float64", "What an exact state remembers in all: MF summed over every "
               "delay. It tells nothing of how far back.", nullable=True),
        Column("capacity", "float64", "MF summed over every delay, in this precision.",
               nullable=True),
        Column("horizon", "int64", "Delays below this one were looked at.", "token", nullable=True),
        Column("capacity_within", "float64", "MF summed over the delays below the horizon.",
               nullable=True),
        Column("delay_50", "int64", "First delay up to which half of the rank is remembered; null "
               "beyond the horizon or where rounding takes it.", "token", nullable=True),
        Column("delay_90", "int64", "The same for nine tenths of the rank.", "token",
               nullable=True),
        Column("last_delay_0p5", "int64", "Last of the delays with MF >= 0.5; null where there is "
               "none.", "token", nullable=True),
        Column("last_delay_0p1", "int64", "The same for MF >= 0.1.", "token", nullable=True),
        Column("last_delay_0p01", "int64", "The same for MF >= 0.01.", "token", nullable=True),
        Column("mean_delay", "float64", "Mean delay, weighted by MF; null for rounded states.",
               "token", nullable=True),
        Column("key_kernel_rank", "float64", "Softmax attention keeps every key: how many of them "
               "are different, in place of a memory function.", nullable=True),
        Column("keys", "float64", "The keys that were compared: of those it read, 512 spread "
               "evenly, or all.", nullable=True),
        Column("samples", "int64", "Tokens at which it was observed; null where it is fixed.",
               nullable=True),
        Column("reason", "string", "Why there is no memory function; null where there is.",
               nullable=True),
    ),
)  # fmt: skip
