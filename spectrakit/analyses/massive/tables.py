"""The table of massive activations: tokens and coordinates that analyses of states leave out.

Nothing is computed here; see `spectrakit.representations.massive` for the rule.
"""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema

TOKEN_SETS = {
    "all": "all tokens",
    "without_first": "without the first token of each sequence",
    "without_massive": "without massive tokens",
}
"""The tokens that a value is of."""

COORDINATE_SETS = {
    "all": "all coordinates",
    "without_massive": "without massive coordinates",
}
"""The coordinates of the residual stream that a value is of."""


def token_set_column(more: str = "") -> Column:
    """The column that says which tokens a row is of."""
    listed = ", ".join(TOKEN_SETS)
    return Column("token_set", "string", f"{listed}: which tokens are counted; the massive ones "
                  f"are in the table `massive`.{more}")  # fmt: skip


COORDINATES = Column("coordinates", "string", "all or without_massive: which coordinates of the "
                     "states are counted.")  # fmt: skip

MASSIVE = TableSchema(
    "massive",
    "a token or a coordinate with massive activations at a depth (arXiv 2402.17762), as an "
    "analysis of hidden states found it; what is massive at any depth is left out at all of them "
    "in rows `without_massive`",
    (
        Column("analysis", "string", "The analysis that found it: similarity or propagation."),
        Column("depth", "int32", "0 where the residual stream enters the first block, l where it "
               "leaves the l-th."),
        Column("kind", "string", "token or coordinate."),
        Column("sequence", "int64", "Sequence of the token, from 0; null for a coordinate.",
               nullable=True),
        Column("position", "int64", "Tokens of its sequence before it; null for a coordinate.",
               "token", nullable=True),
        Column("coordinate", "int32", "Index of the coordinate, from 0; null for a token.",
               nullable=True),
        Column("value", "float64", "Norm of the token's state, or mean square of the coordinate "
               "over the tokens that are not massive (a mean over sequences)."),
        Column("ratio", "float64", "Token: the norm over the median norm of its sequence. "
               "Coordinate: variance or mean square over the median of all coordinates, whichever "
               "ratio is larger (a mean over sequences)."),
        Column("limit", "float64", "The ratio from which on it is massive."),
        Column("sequences", "int64", "Sequences in which the coordinate is massive at this depth, "
               "at least half of those that were judged; 1 for a token."),
    ),
)  # fmt: skip
