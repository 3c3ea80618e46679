"""The table of how alike the hidden states of two depths are.

Nothing is computed here; see `spectrakit.representations` for the formulas.
"""

from __future__ import annotations

from spectrakit.analyses.massive.tables import COORDINATES, token_set_column
from spectrakit.analyses.similarity.estimators import BY_NAME
from spectrakit.tables.columns import Column, TableSchema

REASONS = {
    "too-few-tokens": "fewer tokens than the estimator needs",
    "no-variation": "one of the two has the same features for all tokens, or tokens that are all "
    "equally far apart",
    "no-permutations": "there is a value, and its null was not asked for",
    "no-spread": "there is a value, and all permutations have the same",
}
"""Why a value, or its null, is missing."""

_ESTIMATORS = "; ".join(f"{name} ({own.meaning})" for name, own in BY_NAME.items())
_REASONS = "; ".join(f"{code}: {meaning}" for code, meaning in REASONS.items())


def _optional(name: str, meaning: str) -> Column:
    return Column(name, "float64", meaning, nullable=True)


SIMILARITY = TableSchema(
    "similarity",
    "two depths of the residual stream and an estimator of how alike they are; each pair once for "
    "every set of tokens and coordinates",
    (
        Column("depth", "int32", "0 where the residual stream enters the first block, l where it "
               "leaves the l-th."),
        Column("other_depth", "int32", "The same of the other; never less than `depth` within one "
               "model."),
        Column("other_model_id", "string", "The model of the other depth; null, like its revision "
               "and run, where both depths are of one model.", nullable=True),
        Column("other_revision", "string", "Its commit or content hash.", nullable=True),
        Column("other_run", "int32", "Which of the runs that were compared it is of: 1 for the "
               "second on the command line, and so on.", nullable=True),
        Column("estimator", "string", f"{_ESTIMATORS}."),
        _optional("value", "The estimate; unbiased ones may lie a little below 0."),
        _optional("null_mean", "Its mean over permutations of the tokens of one of the two."),
        _optional("null_std", "Its standard deviation over them: exact but for procrustes, where "
                  "permutations are drawn."),
        _optional("null_z", "(value - null_mean) / null_std. Tokens of a text depend on each "
                  "other, so it is no test; it says how far a value is from chance."),
        Column("tokens", "int64", "Tokens (n) that the value is of.", "token"),
        Column("tokens_seen", "int64", "Tokens of the run; where `tokens` is less, massive ones "
               "are left out, or those are a random sample.", "token"),
        token_set_column(" Under --without-first, first tokens are in none of them."),
        COORDINATES,
        Column("width", "int32", "Features of a token at `depth` that are counted. Values of "
               "mutual_knn and procrustes depend on width over tokens."),
        Column("other_width", "int32", "The same at the other depth."),
        Column("group_tokens", "int64", "Largest group of cka_minibatch.", "token",
               nullable=True),
        Column("neighbours", "int64", "k of mutual_knn.", nullable=True),
        Column("bandwidth", "float64", "Of cka_rbf, over the median distance of two tokens.",
               nullable=True),
        Column("permutations", "int64", "Drawn for the null of procrustes.", nullable=True),
        Column("reason", "string", f"Why something is missing. {_REASONS}.", nullable=True),
    ),
)  # fmt: skip
