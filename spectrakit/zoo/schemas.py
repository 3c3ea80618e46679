"""The tables of a batch's summary: what became of its models, and how they stand to each other."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema

BOARDS = {
    "longest memory": "the timescale that 5 % of the eigenvalues exceed, every layer counted alike "
    "(95 % quantile, in steps; ∞ where so many never decay)",
    "most selective": "how far decay rates vary from token to token: the standard deviation of "
    "log10(rate) over the tokens, a mean over layers (0.3 decades: by a factor of two)",
    "closest pairs": "two models with the least distance between their decay rates: Wasserstein-1 "
    "distance of log10(rate), every layer counted alike (0.3 decades: timescales differ by a "
    "factor of two)",
    "oddest": "the distance of a model's decay rates to those of the model most like it, the same "
    "distance as for pairs",
}
"""The boards in the order in which they are shown, and what decides the places on each."""

_DEFINED = "; ".join(f"{board}: {meaning}" for board, meaning in BOARDS.items())

LEADERBOARD = TableSchema(
    "leaderboard",
    "a run's place on a board, among the runs that it may be compared with: layers of one mode and "
    "gauge, and in data mode one text and one length of sequences; a run with layers of two gauges "
    "has a place among either",
    (
        Column("run", "string", "The run: the name of its folder."),
        Column("board", "string", f"{_DEFINED}."),
        Column("mode", "string", "Of the layers that were compared: static, nominal or data; null "
               "where the run has no place.", nullable=True),
        Column("gauge", "string", "Of the same layers; of attention retained, never dsf.",
               nullable=True),
        Column("text", "string", "The text that was read, in data mode.", nullable=True),
        Column("seq_len", "int64", "Its tokens a sequence, likewise.", "token", nullable=True),
        Column("rank", "int32", "Place, from 1; equal values share one. Null where the run has "
               "none.", nullable=True),
        Column("value", "float64", "What the place is decided by, in `unit`.", nullable=True),
        Column("unit", "string", "step or decade.", nullable=True),
        Column("uncertainty", "float64", "How far the value can be off, for the width of the "
               "spectra's bins; null where the value is infinite, or exact.", nullable=True),
        Column("layers", "int32", "Layers that the value is of.", nullable=True),
        Column("other_run", "string", "The other run of a pair; the run most like an odd one.",
               nullable=True),
        Column("other_model_id", "string", "Its model.", nullable=True),
        Column("other_revision", "string", "Its commit or content hash.", nullable=True),
        Column("note", "string", "What else there is to say, or why the run has no place.",
               nullable=True),
    ),
    of_one_model=False,
)  # fmt: skip

MODELS = TableSchema(
    "models",
    "a model of the batch, and what became of it; revision is empty where the model was not opened",
    (
        Column("run", "string", "The run: the name of its folder."),
        Column("model", "string", "The model as the batch was given it."),
        Column("status", "string", "finished, failed, or unfinished where it was interrupted."),
        Column("kind", "string", "Of failure: error, crashed, memory, time, exited, killed, "
               "lost; null where it did not fail.", nullable=True),
        Column("exit_code", "int32", "What `spectrakit analyze` leaves with; null where it did "
               "not fail.", nullable=True),
        Column("reason", "string", "What went wrong; null where nothing did.", nullable=True),
        Column("hint", "string", "What to try next; null where there is nothing.", nullable=True),
        Column("mode", "string", "weights or data; null where it was not settled.", nullable=True),
        Column("architecture", "string", "What read the checkpoint; null where nothing did.",
               nullable=True),
        Column("plugin", "string", "The distribution that it is of; null likewise.",
               nullable=True),
    ),
    of_one_model=False,
)  # fmt: skip
