"""What every file of the mamba_ssm library says, whatever kind its layers are.

    {"d_model": 768, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {"layer": "Mamba2"}, ...}

    backbone.layers.N.mixer.*      numbered from 0; the mixer, or the attention of a hybrid

The config has no `model_type`. `ssm_cfg` holds only what differs from the mixer class's own
defaults; `attn_cfg` does the same for the attention layers of a hybrid (`attn_layer_idx`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spectrakit.architectures.base import (
    Layer,
    check_layer_count,
    check_parameters,
    config_value,
    positive,
)
from spectrakit.architectures.config_keys import ConfigKeys, words
from spectrakit.architectures.mamba_ssm_model import Backbone
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.architectures.transformers_mamba import BLOCKS
from spectrakit.errors import MalformedError
from spectrakit.mixers.convolved_attention import ConvolvedAttention, Rotary

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer

_ATTENTION_NAMES = {
    "input_projection": "in_proj.weight",
    "input_projection_bias": "in_proj.bias",
    "convolution": "conv1d.weight",
    "convolution_bias": "conv1d.bias",
    "output_projection": "out_proj.weight",
    "output_projection_bias": "out_proj.bias",
}


#: But for `ssm_cfg`, whose options are its mixer class's.
KEYS = ConfigKeys(
    reads=words(
        """
        attn_cfg.causal attn_cfg.d_conv attn_cfg.head_dim attn_cfg.mlp_dim attn_cfg.num_heads
        attn_cfg.num_heads_kv attn_cfg.out_proj_bias attn_cfg.qkv_proj_bias
        attn_cfg.rotary_emb_base attn_cfg.rotary_emb_dim attn_cfg.rotary_emb_interleaved
        attn_cfg.softmax_scale attn_layer_idx d_intermediate d_model n_layer
        pad_vocab_size_multiple residual_in_fp32 rms_norm ssm_cfg tie_embeddings vocab_size
        """
    ),
    irrelevant=words("attn_cfg.device attn_cfg.dtype attn_cfg.layer_idx fused_add_norm"),
)


def layer_kind(checkpoint: TensorSource) -> str | None:
    """`ssm_cfg.layer`, the class of its mixers; None where this is no file of the library."""
    config = checkpoint.config
    keys = "model_type" not in config and "d_model" in config and "n_layer" in config
    if not keys or not any(f".{BLOCKS}" in f".{name}" for name in checkpoint.tensors):
        return None
    options = config.get("ssm_cfg")
    kind = options.get("layer", "Mamba1") if isinstance(options, Mapping) else "Mamba1"
    return str(kind)


def ssm_options(checkpoint: TensorSource) -> Mapping[str, Any]:
    """`ssm_cfg`, what differs from the mixer class's defaults."""
    options: Mapping[str, Any] = config_value(checkpoint, "ssm_cfg", dict, {})
    return options


def ssm_number(checkpoint: TensorSource, key: str, default: float | None = None) -> float:
    """`ssm_cfg[key]`. Raises MalformedError where it is no positive number of sane size."""
    value = ssm_options(checkpoint).get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1 << 31:
        message = f"config.json of {checkpoint.model_id}: ssm_cfg.{key} is {value!r}, not a size"
        raise MalformedError(message)
    return value


def backbone(checkpoint: TensorSource) -> Backbone:
    """What is around the mixers."""
    padding = positive(checkpoint, "pad_vocab_size_multiple", 8)
    mlp_width = config_value(checkpoint, "d_intermediate", int, 0)
    return Backbone(
        width=positive(checkpoint, "d_model"),
        vocabulary=math.ceil(positive(checkpoint, "vocab_size") / padding) * padding,
        mlp_width=math.ceil(mlp_width / 128) * 128 or None,  # as the library rounds it
        layer_norm=not config_value(checkpoint, "rms_norm", bool, True),
        wide_residual=config_value(checkpoint, "residual_in_fp32", bool, True),
    )


def mamba_ssm_layers(
    checkpoint: TensorSource, mixer: Mixer, names: Mapping[str, str]
) -> tuple[Layer, ...]:
    """Every layer: `mixer`, or the attention of a hybrid.

    names: of the mixer's tensors inside a layer, by role.

    Raises MalformedError where config and weights disagree.
    """
    count = positive(checkpoint, "n_layer")
    check_layer_count(checkpoint, BLOCKS, count, "n_layer")
    attending = config_value(checkpoint, "attn_layer_idx", list, [])
    layers = tuple(
        _attention_layer(checkpoint, index) if index in attending else _layer(index, mixer, names)
        for index in range(count)
    )
    for layer in layers:
        check_parameters(checkpoint, layer)
    return layers


def _layer(index: int, mixer: Mixer, names: Mapping[str, str]) -> Layer:
    path = f"{BLOCKS}{index}.mixer"
    parameters = {role: f"{path}.{name}" for role, name in names.items()}
    return Layer(index, path, mixer.name, mixer, parameters)


def _attention_layer(checkpoint: TensorSource, index: int) -> Layer:
    options = _attention_options(checkpoint)
    path = f"{BLOCKS}{index}.mixer"
    if not options.get("causal", False):
        return Layer(index, path, "attention", reason="attention that is not causal (attn_cfg)")
    if options.get("mlp_dim", 0):
        return Layer(index, path, "attention", reason="attention with an MLP inside (mlp_dim)")
    return _layer(index, _attention(checkpoint), _ATTENTION_NAMES)


def _attention(checkpoint: TensorSource) -> ConvolvedAttention:
    options = _attention_options(checkpoint)
    source = PartConfig(checkpoint.model_id, options)
    width = positive(checkpoint, "d_model")
    heads = positive(source, "num_heads")
    convolution = config_value(source, "d_conv", int, 0)
    rotated = config_value(source, "rotary_emb_dim", int, 0)
    rotary = Rotary(
        rotated,
        config_value(source, "rotary_emb_base", float, 10_000.0),
        config_value(source, "rotary_emb_interleaved", bool, False),
    )
    return ConvolvedAttention(
        heads=heads,
        model_width=width,
        groups=positive(source, "num_heads_kv", heads),
        head_width=positive(source, "head_dim", width // heads),
        convolution_width=convolution or None,
        rotary=rotary if rotated else None,
        scale=config_value(source, "softmax_scale", float, 0.0) or None,
        projection_bias=config_value(source, "qkv_proj_bias", bool, True),
        output_bias=config_value(source, "out_proj_bias", bool, True),
    )


def _attention_options(checkpoint: TensorSource) -> Mapping[str, Any]:
    options: Mapping[str, Any] = config_value(checkpoint, "attn_cfg", dict, {})
    return options
