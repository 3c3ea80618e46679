"""The config of a model that is trained here, as `config.json` has it."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class SpectrakitConfig(PreTrainedConfig):
    """A stack of pre-norm blocks with one kind of mixer.

    inputs: "tokens", which are embedded, or "values": ids of 0 to vocab_size - 1 that are taken for
    numbers (a pixel's brightness), scaled to [-1, 1] and projected. channels: values of one
    position (3 of a colour). mixer: a name of `builders`; mixer_options: the fields of its options
    that are not at their defaults. initial_eigenvalues: a set of `memory --preset`; None for the
    mixer's own. frozen: what is not trained; "eigenvalues" is the only such group. positions: none,
    absolute, rope or alibi (the last two of softmax attention alone). gate: whether the mixer's
    output is multiplied by silu of a projection of its input. conv: width of a depthwise causal
    convolution before the mixer; 0 for none. output: what follows the mixer: none, linear, or glu
    of its GELU. mlp: none, mlp or glu, of width mlp_width. bidirectional: whether a second mixer
    reads the sequence backwards. head: language or classifier. pooling: mean or last, of the
    classifier. norm: layer or rms.
    """

    model_type = "spectrakit"

    inputs: str = "tokens"
    vocab_size: int = 256
    channels: int = 1
    hidden_size: int = 64
    num_hidden_layers: int = 2
    mixer: str = "s4d"
    mixer_options: dict[str, Any] | None = None
    initial_eigenvalues: str | None = None
    frozen: list[str] | None = None
    positions: str = "none"
    max_position_embeddings: int = 1024
    gate: bool = False
    conv: int = 0
    output: str = "none"
    mlp: str = "glu"
    mlp_width: int = 128
    bidirectional: bool = False
    head: str = "language"
    pooling: str = "mean"
    dropout: float = 0.0
    norm: str = "layer"
    norm_epsilon: float = 1e-5
    tie_word_embeddings: bool = False
    use_cache: bool = False
