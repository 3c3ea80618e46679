"""The columns of docs/tables.md that no oracle recomputes, each with the reason."""

from __future__ import annotations

from spectrakit.zoo.schemas import MODELS

_RECORDED = "what a batch recorded of a model: no number that could be computed"
_WORDS = "words, held by the tests of the leaderboard"

UNCOVERED: dict[str, str] = {
    **{f"{MODELS.name}.{column.name}": _RECORDED for column in MODELS.all_columns},
    "leaderboard.text": _WORDS,
    "leaderboard.note": _WORDS,
}
