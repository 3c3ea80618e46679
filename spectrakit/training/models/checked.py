"""What a config may not be: choices that are none, and mixers with positions they cannot have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from spectrakit.errors import UsageError
from spectrakit.training.models.builders import builder
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig

_CHOICES: dict[str, tuple[str, ...]] = {
    "inputs": ("tokens", "values"),
    "positions": ("none", "absolute", "rope", "alibi"),
    "output": ("none", "linear", "glu"),
    "mlp": ("none", "mlp", "glu"),
    "head": ("language", "classifier"),
    "pooling": ("mean", "last"),
    "norm": ("layer", "rms"),
}
_SIZES = ("vocab_size", "channels", "hidden_size", "num_hidden_layers", "max_position_embeddings")
#: Sizes beyond it are mistakes, and would be allocated.
_LARGEST = 1 << 24


def check_config(config: SpectrakitConfig) -> None:
    """Raise UsageError, naming the key, where `config` makes no model."""
    for key, choices in _CHOICES.items():
        value = getattr(config, key)
        if value not in choices:
            message = f"{key} = {value!r}; one of: {', '.join(choices)}"
            raise UsageError(message, hint=did_you_mean(str(value), choices))
    for key in (*_SIZES, *(("mlp_width",) if config.mlp != "none" else ())):
        _check_size(key, getattr(config, key), 1)
    _check_size("conv", config.conv, 0)
    if not 0 <= config.dropout < 1:
        message = f"dropout = {config.dropout}, not a share below 1"
        raise UsageError(message, hint="dropout = 0.1")
    if config.inputs == "values" and config.vocab_size < 2:
        message = "values of a single level say nothing"
        raise UsageError(message, hint="vocab_size = 256")
    if config.positions in ("rope", "alibi") and config.mixer != "softmax":
        message = (
            f"positions = {config.positions!r} are of softmax attention, not of {config.mixer}"
        )
        raise UsageError(message, hint='positions = "none" or "absolute"')
    _check_mixer(config)


def _check_size(key: str, value: Any, least: int) -> None:  # noqa: ANN401  (what a file says)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        message = f"{key} = {value!r} is no size"
        raise UsageError(message, hint=f"a whole number from {least} to {_LARGEST:,}")


def _check_mixer(config: SpectrakitConfig) -> None:
    found = builder(config.mixer)
    try:
        found.options_of(config.mixer_options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = f"option {key!r} of mixer {config.mixer}: {first['msg']}"
        raise UsageError(message, hint=f"spectrakit train --schema {config.mixer}") from None
    if config.initial_eigenvalues is not None and found.eigenvalues == "none":
        message = f"{config.mixer} has no eigenvalues of its own to start with"
        raise UsageError(message, hint="leave initial_eigenvalues out")
