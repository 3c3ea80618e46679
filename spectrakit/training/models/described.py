"""A model's config without transformers, whose import takes seconds: to read headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

#: The defaults of `SpectrakitConfig`, for configs that leave something out.
DEFAULTS: Mapping[str, Any] = {
    "inputs": "tokens",
    "vocab_size": 256,
    "channels": 1,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "mixer": "s4d",
    "mixer_options": None,
    "initial_eigenvalues": None,
    "frozen": None,
    "positions": "none",
    "max_position_embeddings": 1024,
    "gate": False,
    "conv": 0,
    "output": "none",
    "mlp": "glu",
    "mlp_width": 128,
    "bidirectional": False,
    "head": "language",
    "pooling": "mean",
    "dropout": 0.0,
    "norm": "layer",
    "norm_epsilon": 1e-5,
    "tie_word_embeddings": False,
}


def described(config: Mapping[str, Any]) -> Any:  # noqa: ANN401  (has the attributes of the config)
    """What a mixer is built from, with the attributes of the `SpectrakitConfig` of these keys."""
    return SimpleNamespace(**{**DEFAULTS, **{k: v for k, v in config.items() if k in DEFAULTS}})
