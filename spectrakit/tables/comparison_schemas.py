"""The tables of `spectrakit compare`: how other runs differ from the first."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema

UNLIKE = {
    "other-gauge": "eigenvalues, or what is made of them, in another gauge (retained, dsf, "
    "unnormalised)",
    "other-mode": "memory of another mode (static, nominal, data)",
    "other-past": "memory of another past (infinite, horizon, sequence)",
    "other-horizon": "memory of a past that ends at another horizon",
    "other-seq-len": "kernels, memory or a rank, which end with the sequence, of sequences of "
    "another length",
    "other-items": "accuracies on prompts with another number of items",
    "other-option": "numbers that an option of the analysis decides, which was set otherwise",
}
"""Why two numbers are not one quantity, and are not subtracted."""

REASONS = {
    "no-value": "one of the two has none",
    **UNLIKE,
    "opposite-infinities": "one is infinite, the other minus that",
    "no-bound": "there is a difference, and no bound is known on how far the values may be off",
    "no-standard-error": "there is a difference, and the runs keep no spread of what the values "
    "are means of",
}
"""Why a difference of summaries, or its uncertainty, is missing."""
_REASONS = "; ".join(f"{code}: {meaning}" for code, meaning in REASONS.items())

_OTHER = (
    Column("other_model_id", "string", "The model it is compared with."),
    Column("other_revision", "string", "Its commit or content hash."),
    Column("other_run", "int32", "Which of the runs that is: 1 for the second on the command line, "
           "and so on."),
)  # fmt: skip
_PAIR = (
    Column("depth", "float64", "Where the layer is among those of its run: 0 the first, 1 the "
           "last; null for what is not of one layer.", nullable=True),
    Column("layer", "int32", "Index of the layer in the model; null likewise.", nullable=True),
    Column("other_layer", "int32", "Index of the other model's layer at the nearest depth.",
           nullable=True),
)  # fmt: skip

DECAY_DISTANCE = TableSchema(
    "decay_distance",
    "a layer, and how far the decay rates of the other model's layer at its depth are from its own",
    (
        *_OTHER,
        *_PAIR,
        Column("domain", "string", "discrete or continuous, of the eigenvalues."),
        Column("mode", "string", "Where the first's are from: static, nominal or data."),
        Column("other_mode", "string", "Where the other's are from."),
        Column("gauge", "string", "Scaling of the first's state: one that both have (retained "
               "before dsf), where there is such."),
        Column("other_gauge", "string", "Scaling of the other's state. Where it is another, there "
               "is no distance."),
        Column("wasserstein_decades", "float64", "Wasserstein-1 distance of the two distributions "
               "of log10(decay rate), among eigenvalues that decay at a finite rate.", "decade",
               nullable=True),
        Column("uncertainty_decades", "float64", "How far it can be off: for the width of the "
               "bins where eigenvalues are from a histogram (data mode: 0.0043 for each of the "
               "two), and for their error bounds; 0 where all are exact. Null where a rate may as "
               "well be zero.", "decade", nullable=True),
        Column("never_decaying", "float64", "Share of its eigenvalues that never decay.",
               "fraction"),
        Column("other_never_decaying", "float64", "The same of the other.", "fraction"),
        Column("gone_at_once", "float64", "Share of its eigenvalues that are zero: an infinite "
               "decay rate.", "fraction"),
        Column("other_gone_at_once", "float64", "The same of the other.", "fraction"),
        Column("reason", "string", "Why there is no distance; null where there is one.",
               nullable=True),
    ),
)  # fmt: skip

SUMMARY_DIFFERENCE = TableSchema(
    "summary_difference",
    "a number that both runs summarise, and their difference",
    (
        *_OTHER,
        *_PAIR,
        Column("of_table", "string", "The table it is from."),
        Column("metric", "string", "The column, and what else tells its rows apart."),
        Column("value", "float64", "In the first run.", nullable=True),
        Column("other_value", "float64", "In the other.", nullable=True),
        Column("difference", "float64", "The other's less the first's.", nullable=True),
        Column("uncertainty", "float64", "Of the difference: the bounds of both added up, or the "
               "root of the sum of squares where both are standard errors; 0 where both are exact; "
               "null where their tables say nothing of it.", nullable=True),
        Column("reason", "string", f"Why something is missing. {_REASONS}.", nullable=True),
    ),
)  # fmt: skip
