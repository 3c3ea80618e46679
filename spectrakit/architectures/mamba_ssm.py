"""state-spaces' own Mamba files: a config without `model_type`, weights named by mamba_ssm.

    {"d_model": 768, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {"layer": "Mamba2"}, ...}

`ssm_cfg` holds only what differs from the mixer class's own defaults, which are written out here;
`attn_cfg` does the same for the attention layers of a hybrid (`attn_layer_idx`). Tensor names are
transformers' but for `backbone.embedding`, and a model without attention and MLPs runs as one of
transformers; others run by their mixers' own equations (`mamba_ssm_model`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit.architectures.base import (
    Layer,
    check_layer_count,
    check_parameters,
    config_value,
    positive,
)
from spectrakit.architectures.mamba_ssm_model import Backbone, load_mamba_ssm_model
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.architectures.transformers_mamba import (
    BLOCKS,
    CHUNK_SCAN,
    MAMBA2_NAMES,
    MAMBA_NAMES,
    SELECTIVE_SCAN,
    step_limit,
)
from spectrakit.architectures.transformers_model import TransformersModel, load_transformers_model
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.mixers import Mamba, Mamba2
from spectrakit.mixers.convolved_attention import ConvolvedAttention, Rotary

if TYPE_CHECKING:
    from spectrakit.architectures.base import RunnableModel
    from spectrakit.checkpoints import Checkpoint
    from spectrakit.mixers import Mixer

#: Options of mamba_ssm's Mamba2 that are read at one value only.
_ONLY = {"d_ssm": None, "D_has_hdim": False}

_ATTENTION_NAMES = {
    "input_projection": "in_proj.weight",
    "input_projection_bias": "in_proj.bias",
    "convolution": "conv1d.weight",
    "convolution_bias": "conv1d.bias",
    "output_projection": "out_proj.weight",
    "output_projection_bias": "out_proj.bias",
}


class MambaSSM:
    """Checkpoints of the mamba_ssm library: Mamba, Mamba-2 and their hybrids with attention."""

    name: ClassVar[str] = "mamba-ssm"

    def claims(self, checkpoint: Checkpoint) -> bool:
        """By the config's keys and the tensor names; the config has no `model_type`."""
        config = checkpoint.config
        keys = "model_type" not in config and "d_model" in config and "n_layer" in config
        return keys and any(name.startswith(BLOCKS) for name in checkpoint.tensors)

    def layers(self, checkpoint: Checkpoint) -> tuple[Layer, ...]:
        """Every layer, attention layers of a hybrid among them.

        Raises MalformedError where config and weights disagree, UnsupportedError for a layer kind
        that is not known.
        """
        count = positive(checkpoint, "n_layer")
        check_layer_count(checkpoint, BLOCKS, count, "n_layer")
        mixer, names = _mixer(checkpoint)
        attending = config_value(checkpoint, "attn_layer_idx", list, [])
        layers = tuple(
            _attention_layer(checkpoint, index)
            if index in attending
            else _layer(index, mixer, names)
            for index in range(count)
        )
        for layer in layers:
            check_parameters(checkpoint, layer)
        return layers

    def load(self, checkpoint: Checkpoint, device: str, dtype: str = "float32") -> RunnableModel:
        """The equivalent transformers model, converted in memory; where there is none, our own.

        Raises UnsupportedError where a layer cannot be read, and so not be run.
        """
        layers = self.layers(checkpoint)
        unread = [layer for layer in layers if layer.mixer is None]
        if unread:
            message = f"{checkpoint.model_id}: layer {unread[0].index}: {unread[0].reason}"
            hint = "--mode weights"
            raise UnsupportedError(message, hint=hint)
        mixer, _ = _mixer(checkpoint)
        backbone = _backbone(checkpoint)
        if not _in_transformers(layers, backbone):
            return load_mamba_ssm_model(checkpoint, layers, backbone, device, dtype)
        config = _transformers_config(checkpoint, mixer, backbone)
        model = load_transformers_model(checkpoint, config, device, dtype, _transformers_name)
        tap = CHUNK_SCAN if isinstance(mixer, Mamba2) else SELECTIVE_SCAN
        return TransformersModel(model, layers, {layer.index: tap for layer in layers})


def _in_transformers(layers: Sequence[Layer], backbone: Backbone) -> bool:
    """Whether transformers has such a model: mixers of Mamba alone, normed and gated as usual."""

    def usual(mixer: Mixer | None) -> bool:
        if isinstance(mixer, Mamba2):
            return mixer.norm_epsilon is not None and not mixer.norm_before_gate
        return isinstance(mixer, Mamba)

    around = backbone.mlp_width is None and not backbone.layer_norm
    return around and all(usual(layer.mixer) for layer in layers)


def _backbone(checkpoint: Checkpoint) -> Backbone:
    padding = positive(checkpoint, "pad_vocab_size_multiple", 8)
    mlp_width = config_value(checkpoint, "d_intermediate", int, 0)
    return Backbone(
        width=positive(checkpoint, "d_model"),
        vocabulary=math.ceil(positive(checkpoint, "vocab_size") / padding) * padding,
        mlp_width=math.ceil(mlp_width / 128) * 128 or None,  # as the library rounds it
        layer_norm=not config_value(checkpoint, "rms_norm", bool, True),
        wide_residual=config_value(checkpoint, "residual_in_fp32", bool, True),
    )


def _transformers_name(name: str) -> str:
    return name.replace("backbone.embedding.", "backbone.embeddings.")


def _layer(index: int, mixer: Mixer, names: Mapping[str, str]) -> Layer:
    path = f"{BLOCKS}{index}.mixer"
    parameters = {role: f"{path}.{name}" for role, name in names.items()}
    return Layer(index, path, mixer.name, mixer, parameters)


def _attention_layer(checkpoint: Checkpoint, index: int) -> Layer:
    options = _attention_options(checkpoint)
    path = f"{BLOCKS}{index}.mixer"
    if not options.get("causal", False):
        return Layer(index, path, "attention", reason="attention that is not causal (attn_cfg)")
    if options.get("mlp_dim", 0):
        return Layer(index, path, "attention", reason="attention with an MLP inside (mlp_dim)")
    return _layer(index, _attention(checkpoint), _ATTENTION_NAMES)


def _attention(checkpoint: Checkpoint) -> ConvolvedAttention:
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


def _attention_options(checkpoint: Checkpoint) -> Mapping[str, Any]:
    options: Mapping[str, Any] = config_value(checkpoint, "attn_cfg", dict, {})
    return options


def _mixer(checkpoint: Checkpoint) -> tuple[Mamba | Mamba2, Mapping[str, str]]:
    kind = _options(checkpoint).get("layer", "Mamba1")
    if kind == "Mamba1":
        return _mamba(checkpoint), MAMBA_NAMES
    if kind == "Mamba2":
        return _mamba2(checkpoint), MAMBA2_NAMES
    message = f"{checkpoint.model_id}: ssm_cfg.layer is {kind!r}, which no plugin here reads"
    raise UnsupportedError(message, hint="spectrakit plugins list")


def _mamba(checkpoint: Checkpoint) -> Mamba:
    options = _options(checkpoint)
    width = positive(checkpoint, "d_model")
    rank = options.get("dt_rank", "auto")
    return Mamba(
        model_width=width,
        channels=int(_number(checkpoint, "expand", 2) * width),
        state_size=int(_number(checkpoint, "d_state", 16)),
        step_rank=math.ceil(width / 16) if rank == "auto" else int(_number(checkpoint, "dt_rank")),
        convolution_width=int(_number(checkpoint, "d_conv", 4)),
        projection_bias=bool(options.get("bias", False)),
        convolution_bias=bool(options.get("conv_bias", True)),
    )


def _mamba2(checkpoint: Checkpoint) -> Mamba2:
    options = _options(checkpoint)
    for option, supported in _ONLY.items():
        if options.get(option, supported) != supported:
            message = (
                f"{checkpoint.model_id}: ssm_cfg.{option} = {options[option]!r} is not read yet"
            )
            raise UnsupportedError(message)
    width = positive(checkpoint, "d_model")
    head_width = int(_number(checkpoint, "headdim", 64))
    return Mamba2(
        model_width=width,
        heads=int(_number(checkpoint, "expand", 2) * width) // head_width,
        head_width=head_width,
        state_size=int(_number(checkpoint, "d_state", 128)),
        groups=int(_number(checkpoint, "ngroups", 1)),
        convolution_width=int(_number(checkpoint, "d_conv", 4)),
        step_limit=step_limit(checkpoint, "dt_limit", options),
        norm_epsilon=1e-5 if options.get("rmsnorm", True) else None,
        norm_before_gate=bool(options.get("norm_before_gate", False)),
        projection_bias=bool(options.get("bias", False)),
        convolution_bias=bool(options.get("conv_bias", True)),
    )


def _options(checkpoint: Checkpoint) -> Mapping[str, Any]:
    options: Mapping[str, Any] = config_value(checkpoint, "ssm_cfg", dict, {})
    return options


def _number(checkpoint: Checkpoint, key: str, default: float | None = None) -> float:
    value = _options(checkpoint).get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1 << 31:
        message = f"config.json of {checkpoint.model_id}: ssm_cfg.{key} is {value!r}, not a size"
        raise MalformedError(message)
    return value


def _transformers_config(
    checkpoint: Checkpoint, mixer: Mamba | Mamba2, backbone: Backbone
) -> Mapping[str, Any]:
    shared = {
        "vocab_size": backbone.vocabulary,
        "hidden_size": mixer.model_width,
        "num_hidden_layers": positive(checkpoint, "n_layer"),
        "state_size": mixer.state_size,
        "conv_kernel": mixer.convolution_width,
        "expand": mixer.channels // mixer.model_width,
        "use_bias": mixer.projection_bias,
        "use_conv_bias": mixer.convolution_bias,
        "residual_in_fp32": backbone.wide_residual,
        "tie_word_embeddings": config_value(checkpoint, "tie_embeddings", bool, True),
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
            "chunk_size": int(_number(checkpoint, "chunk_size", 256)),
        }
    return shared | {"model_type": "mamba", "time_step_rank": mixer.step_rank}
