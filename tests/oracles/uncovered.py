"""The columns of docs/tables.md that no oracle recomputes, each with the reason."""

from __future__ import annotations

from spectrakit.zoo.schemas import MODELS
from tests.oracles.memory_oracle import LEVELS, SHARES

_RECORDED = "what a batch recorded of a model: no number that could be computed"
_GRADIENT = "held to finite differences of the loss by tests/training/tracking"
_RUN = "what a training run was, held by the tests of the loop"
_TOKENS = "null of weights: a probe's are held to those of `analyze` by tests/training/tracking"
_DELAYS = "held to `memory_summary`, which oracles recompute, by tests/training/tracking"
_WORDS = "words, held by the tests of the leaderboard"

UNCOVERED: dict[str, str] = {
    **{f"{MODELS.name}.{column.name}": _RECORDED for column in MODELS.all_columns},
    "leaderboard.text": _WORDS,
    "leaderboard.note": _WORDS,
    **{
        f"{table}.gradient_norm": _GRADIENT
        for table in ("training_spectrum", "training_timescales")
    },
    "training_spectrum.gradient_reason": _GRADIENT,
    "training.gradient_norm": "held to the parameters' gradients by the tests of the loop",
    "training.seconds": "time: it differs from run to run",
    **{
        f"{table}.{column}": _RUN
        for table in ("training", "training_spectrum", "training_timescales", "training_memory")
        for column in ("model_id", "revision")
    },
    **{f"training_memory.{column}": _DELAYS for column in (*SHARES, *LEVELS)},
    **{
        f"training_memory.{column}": "null of the fixed memory of a head that has one"
        for column in ("channel", "key_kernel_rank", "keys", "samples", "reason")
    },
    "training_spectrum.spectral_abscissa": "null: spectra of training are in discrete time",
    "training_spectrum.spectral_abscissa_bound": "null, as spectral_abscissa",
    "training_spectrum.tokens": _TOKENS,
    "training_spectrum.sequences": _TOKENS,
}
