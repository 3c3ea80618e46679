"""The columns of docs/tables.md that no oracle recomputes, each with the reason."""

from __future__ import annotations

from spectrakit.tables.training_schemas import TRAINING, TRAINING_SPECTRUM, TRAINING_TIMESCALES
from spectrakit.zoo.schemas import MODELS

TRAINED = (TRAINING, TRAINING_SPECTRUM, TRAINING_TIMESCALES)

_RECORDED = "what a batch recorded of a model: no number that could be computed"
_TRAINED = (
    "what a training run recorded: tests/training holds it to finite differences, to "
    "spectrum_summary, and to the run itself"
)
_WORDS = "words, held by the tests of the leaderboard"

UNCOVERED: dict[str, str] = {
    **{f"{MODELS.name}.{column.name}": _RECORDED for column in MODELS.all_columns},
    "leaderboard.text": _WORDS,
    "leaderboard.note": _WORDS,
    **{
        f"{schema.name}.{column.name}": _TRAINED
        for schema in TRAINED
        for column in schema.all_columns
    },
}
