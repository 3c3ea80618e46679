"""A Mamba's mixer as the config of transformers that makes the same model there."""

from __future__ import annotations

from typing import Any

from spectrakit.mixers import Mamba, Mamba2


def transformers_config(
    mixer: Mamba | Mamba2, blocks: int, vocabulary: int, *, tied: bool
) -> dict[str, Any]:
    """Of a language model of `blocks` such layers; tied: whether its head is its embedding."""
    shared = {
        "vocab_size": vocabulary,
        "hidden_size": mixer.model_width,
        "num_hidden_layers": blocks,
        "state_size": mixer.state_size,
        "conv_kernel": mixer.convolution_width,
        "expand": mixer.channels // mixer.model_width,
        "use_bias": mixer.projection_bias,
        "use_conv_bias": mixer.convolution_bias,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if isinstance(mixer, Mamba2):
        return shared | {
            "model_type": "mamba2",
            "num_heads": mixer.heads,
            "head_dim": mixer.head_width,
            "n_groups": mixer.groups,
            "time_step_limit": mixer.step_limit,
            "layer_norm_epsilon": mixer.norm_epsilon,
        }
    return shared | {"model_type": "mamba", "time_step_rank": mixer.step_rank}
