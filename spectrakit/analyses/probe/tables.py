"""The table of linear probes; `spectrakit.representations.probing` has the formulas."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema

_INTERVAL = "of its 95 % interval; prompts of one source count as far as they differ."

PROBE = TableSchema(
    "probe",
    "a depth, a target and a gold position (or all), with how well a linear probe tells the target "
    "from the states at the prompts' last tokens, always of sources it was not fitted on",
    (
        Column("prompt_set", "string", "The prompt set that made the prompts."),
        Column("target", "string", "What the probe tells: gold_position (where the item stands "
               "that holds the answer), or another of the set's."),
        Column("depth", "int32", "0 where the residual stream enters the first block, l where it "
               "leaves the l-th."),
        Column("gold_position", "int32", "Where the item stands that holds the answer, from 0; "
               "null for all positions.", nullable=True),
        Column("accuracy", "float64", "Share of prompts whose target the probe tells.",
               "fraction", nullable=True),
        Column("accuracy_low", "float64", f"Lower end {_INTERVAL}", "fraction", nullable=True),
        Column("accuracy_high", "float64", f"Upper end {_INTERVAL}", "fraction", nullable=True),
        Column("shuffled_accuracy", "float64", "The same of a probe on shuffled labels: the "
               "control.", "fraction", nullable=True),
        Column("chance", "float64", "Share of the most frequent label among all prompts.",
               "fraction"),
        Column("reason", "string", "Why there is no probe: few_sources (too few for the folds), "
               "one_label (too little to tell apart); null where there is one.", nullable=True),
        Column("model_accuracy", "float64", "Share of these prompts where the model itself "
               "chooses the right answer among those of all items, token by token; the same at "
               "every depth.", "fraction", nullable=True),
        Column("model_accuracy_low", "float64", f"Lower end {_INTERVAL}", "fraction",
               nullable=True),
        Column("model_accuracy_high", "float64", f"Upper end {_INTERVAL}", "fraction",
               nullable=True),
        Column("model_reason", "string", "Why the model's choice is not known: no_head (the model "
               "runs without its language head), no_candidates (the other items have no answers); "
               "null where it is.", nullable=True),
        Column("items", "int32", "Pairs or passages of a prompt; 1 / items is a blind choice."),
        Column("prompts", "int64", "Prompts that were counted."),
        Column("sources", "int64", "Sources they are made of."),
        Column("features", "int32", "Features the probe had: the model's width, or fewer where "
               "states were projected at random to fit the memory."),
    ),
)  # fmt: skip
