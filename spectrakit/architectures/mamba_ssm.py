"""state-spaces' own Mamba files: a config without `model_type`, weights named by mamba_ssm.

    {"d_model": 768, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {"layer": "Mamba2"}, ...}

`ssm_cfg` holds only what differs from the mixer class's own defaults, which are written out here.
Tensor names are transformers' but for `backbone.embedding`. Layers of a hybrid that hold attention
(`attn_layer_idx`) are listed with the reason why they are not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit.architectures.base import (
    Layer,
    check_layer_count,
    check_parameters,
    config_value,
    positive,
)
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

if TYPE_CHECKING:
    from spectrakit.architectures.base import RunnableModel
    from spectrakit.checkpoints import Checkpoint
    from spectrakit.mixers import Mixer

#: Options of mamba_ssm's Mamba2 that are read at one value only.
_ONLY = {"d_ssm": None, "D_has_hdim": False, "rmsnorm": True, "norm_before_gate": False}
_ATTENTION = "attention is not yet supported (its recurrence needs a forward pass of its own)"


class MambaSSM:
    """Checkpoints of the mamba_ssm library: Mamba, Mamba-2 and their hybrids with attention."""

    name: ClassVar[str] = "mamba-ssm"

    def claims(self, checkpoint: Checkpoint) -> bool:
        """By the config's keys: it has `d_model` and `n_layer`, and no `model_type`."""
        config = checkpoint.config
        return "model_type" not in config and "d_model" in config and "n_layer" in config

    def layers(self, checkpoint: Checkpoint) -> tuple[Layer, ...]:
        """Every layer; attention layers of a hybrid with the reason they are not read.

        Raises MalformedError where config and weights disagree, UnsupportedError for a layer kind
        that is not known.
        """
        count = positive(checkpoint, "n_layer")
        check_layer_count(checkpoint, BLOCKS, count, "n_layer")
        mixer, names = _mixer(checkpoint)
        attention = _attention_layers(checkpoint)
        layers = tuple(
            Layer(index, f"{BLOCKS}{index}.mixer", "attention", reason=_ATTENTION)
            if index in attention
            else _mixer_layer(index, mixer, names)
            for index in range(count)
        )
        for layer in layers:
            check_parameters(checkpoint, layer)
        return layers

    def load(self, checkpoint: Checkpoint, device: str, dtype: str = "float32") -> RunnableModel:
        """The equivalent transformers model, converted in memory.

        Raises UnsupportedError for hybrids and models with MLPs, which it has no equivalent of.
        """
        if _attention_layers(checkpoint) or checkpoint.config.get("d_intermediate", 0):
            message = (
                f"{checkpoint.model_id} mixes Mamba with attention or MLP layers, "
                "and its forward pass is not yet supported"
            )
            hint = f"spectrakit analyze {checkpoint.model_id} --mode weights"
            raise UnsupportedError(message, hint=hint)
        mixer, _ = _mixer(checkpoint)
        config = _transformers_config(checkpoint, mixer)
        model = load_transformers_model(checkpoint, config, device, dtype, _transformers_name)
        layers = self.layers(checkpoint)
        tap = CHUNK_SCAN if isinstance(mixer, Mamba2) else SELECTIVE_SCAN
        return TransformersModel(model, layers, {layer.index: tap for layer in layers})


def _transformers_name(name: str) -> str:
    return name.replace("backbone.embedding.", "backbone.embeddings.")


def _mixer_layer(index: int, mixer: Mixer, names: Mapping[str, str]) -> Layer:
    path = f"{BLOCKS}{index}.mixer"
    parameters = {role: f"{path}.{name}" for role, name in names.items()}
    return Layer(index, path, mixer.name, mixer, parameters)


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


def _attention_layers(checkpoint: Checkpoint) -> frozenset[int]:
    indices = config_value(checkpoint, "attn_layer_idx", list, [])
    return frozenset(index for index in indices if isinstance(index, int))


def _transformers_config(checkpoint: Checkpoint, mixer: Mamba | Mamba2) -> Mapping[str, Any]:
    padding = config_value(checkpoint, "pad_vocab_size_multiple", int, 8)
    vocabulary = positive(checkpoint, "vocab_size")
    shared = {
        "vocab_size": math.ceil(vocabulary / padding) * padding,
        "hidden_size": mixer.model_width,
        "num_hidden_layers": positive(checkpoint, "n_layer"),
        "state_size": mixer.state_size,
        "conv_kernel": mixer.convolution_width,
        "expand": mixer.channels // mixer.model_width,
        "use_bias": mixer.projection_bias,
        "use_conv_bias": mixer.convolution_bias,
        "residual_in_fp32": config_value(checkpoint, "residual_in_fp32", bool, True),
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
