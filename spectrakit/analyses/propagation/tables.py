"""The tables of how hidden states travel through a model, and the metrics their rows are named by.

Nothing is computed here; see `spectrakit.representations` for the formulas.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from spectrakit.analyses.massive.tables import COORDINATES, token_set_column
from spectrakit.tables.columns import Column, TableSchema

#: The residual stream, or what a block adds to it.
Of: TypeAlias = Literal["stream", "update"]

TOKEN_METRICS = {
    "norm": "||h||",
    "cosine_next": "cosine to the same token one block later (arXiv 2510.06640)",
    "path_length": "sum of ||u|| of the blocks so far",
    "path_energy": "sum of ||u||^2 of the blocks so far",
    "relative_path_length": "the same, each step over ||h|| before it",
    "relative_path_energy": "the same, each step over ||h||^2 before it",
    "straightness": "distance from depth 0 over the path length",
    "curvature": "angle between the updates before and after this depth, in degrees",
    "relative_norm": "||u|| over ||h|| before it",
}
"""What each token has of its own. h is the residual stream, u the update of a block."""

SEQUENCE_METRICS = {
    "inter_token_cosine": "mean cosine of two tokens of a sequence (arXiv 2510.06640)",
    "token_variance": "mean squared distance from the sequence's mean token",
    "normalised_variance": "the same, over the mean of ||h||^2",
    "dirichlet_energy": "mean squared distance of neighbouring tokens",
    "normalised_dirichlet_energy": "the same, over the mean of ||h||^2",
    "effective_rank": "exp of the entropy of the eigenvalues of the tokens' covariance",
    "participation_ratio": "squared sum over sum of squares of the same eigenvalues",
}
"""What only several tokens of a sequence have, of h or of u."""

METRICS: dict[Of, tuple[str, ...]] = {
    "stream": (*(name for name in TOKEN_METRICS if name != "relative_norm"), *SEQUENCE_METRICS),
    "update": ("norm", "relative_norm", "cosine_next", *SEQUENCE_METRICS),
}
"""The metrics of the residual stream, at depth 0 and up, and of the updates, at depth 1 and up."""


def _listed(metrics: dict[str, str]) -> str:
    return "; ".join(f"{name}: {meaning}" for name, meaning in metrics.items())


DEPTH = Column("depth", "int32", "0 where the residual stream enters the first block, l where it "
                "leaves the l-th.")  # fmt: skip
_REASON = Column("reason", "string", "Why there is no value; null where there is one.",
                 nullable=True)  # fmt: skip
ERROR = Column("standard_error", "float64", "Of the value, over sequences; null for fewer than "
                "two.", nullable=True)  # fmt: skip
SEQUENCES = Column("sequences", "int64", "Sequences that were averaged.")
LONGEST = Column("seq_len", "int64", "Tokens of the longest sequence.", "token")

PROPAGATION = TableSchema(
    "propagation",
    "a depth and a metric of how hidden states travel: averaged over tokens, or over those at some "
    "positions; a sequence counts as much as it has tokens",
    (
        DEPTH,
        Column("of", "string", "stream (h, the residual stream at this depth) or update (u, what "
               "the block that ends here added to it)."),
        Column("metric", "string", f"By token: {_listed(TOKEN_METRICS)}. By sequence: "
               f"{_listed(SEQUENCE_METRICS)}."),
        token_set_column(),
        COORDINATES,
        Column("position_low", "int64", "First position of the bin, from 0; null for all "
               "positions.", "token", nullable=True),
        Column("position_high", "int64", "Last position of the bin.", "token", nullable=True),
        Column("value", "float64", "Mean of the metric.", nullable=True),
        ERROR,
        Column("tokens", "int64", "Tokens that were counted; for effective_rank and "
               "participation_ratio those taken from each sequence, which bound them.", "token"),
        SEQUENCES,
        LONGEST,
        _REASON,
    ),
)  # fmt: skip
