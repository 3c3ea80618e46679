"""The tables of a training run: what was lost and learned, and what the spectra did meanwhile."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema
from spectrakit.tables.label_columns import LAYER
from spectrakit.tables.schemas import SPECTRUM_SUMMARY

STEP = Column("step", "int64", "Updates of the weights before this; 0 is the initial model.",
              "step")  # fmt: skip

TRAINING = TableSchema(
    "training",
    "a step of the optimiser, or an evaluation after it",
    (
        STEP,
        Column("split", "string", "train, of the step's own batch; validation or test."),
        Column("loss", "float64", "Mean cross-entropy of a target.", "nat"),
        Column("metric", "float64", "Accuracy, or bits per token of a language model; null of "
               "training batches.", nullable=True),
        Column("epoch", "float64", "Passes over the training examples so far.", nullable=True),
        Column("examples", "int64", "Examples that the loss is of.", nullable=True),
        Column("targets", "int64", "Targets that the loss is the mean over.", nullable=True),
        Column("rate", "float64", "Learning rate of the step.", nullable=True),
        Column("recurrence_rate", "float64", "That of the recurrences' parameters.",
               nullable=True),
        Column("gradient_norm", "float64", "Norm of the whole gradient, before it is clipped.",
               nullable=True),
        Column("seconds", "float64", "Time since training began, all its parts added up; differs "
               "from run to run.", "second"),
    ),
)  # fmt: skip

GRADIENT = (
    Column("gradient_norm", "float64", "Norm of the loss's gradient on log lambda of this head's "
           "eigenvalues, all else fixed; of Mamba and Mamba-2 on the logarithms of its nominal "
           "decay rates.", "nat", nullable=True),
    Column("gradient_reason", "string", "Why there is no such norm.", nullable=True),
)  # fmt: skip

TRAINING_SPECTRUM = TableSchema(
    "training_spectrum",
    "a layer, or a head of it, at a step of training: its spectrum as `spectrum_summary` has it",
    (STEP, *SPECTRUM_SUMMARY.columns, *GRADIENT),
)

TRAINING_TIMESCALES = TableSchema(
    "training_timescales",
    "a bin of timescales of a layer at a step of training",
    (
        STEP,
        LAYER,
        Column("mode", "string", "static, nominal or data."),
        Column("gauge", "string", "Scaling of the state that eigenvalues refer to."),
        Column("timescale_low", "float64", "Lower end of the bin, included; 0 takes in all below.",
               "step"),
        Column("timescale_high", "float64", "Upper end of the bin, not included; inf takes in "
               "what never decays.", "step"),
        Column("count", "int64", "Eigenvalues in the bin, with their multiplicities."),
        Column("gradient_norm", "float64", "Norm of the gradient, as in `training_spectrum`, on "
               "the eigenvalues of the bin.", "nat", nullable=True),
    ),
)  # fmt: skip
