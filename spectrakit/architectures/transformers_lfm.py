"""LFM2, LFM2-MoE and LFM3 checkpoints: gated short convolutions among attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.attention import attention_part
from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.architectures.block_types import block_types, check_length
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.taps import FunctionSource, Seen, Tap
from spectrakit.architectures.transformers_family import (
    BLOCK_TYPES,
    Block,
    Part,
    TransformersArchitecture,
)
from spectrakit.errors import MalformedError
from spectrakit.mixers import Observation, ShortConvolution

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import Mixer

SHORT_CONVOLUTION_NAMES = {
    "convolution": "conv.weight",
    "convolution_bias": "conv.bias",
    "input_projection": "in_proj.weight",
    "input_projection_bias": "in_proj.bias",
    "output_projection": "out_proj.weight",
    "output_projection_bias": "out_proj.bias",
}

_KINDS = ("conv", "full_attention", "sliding_attention")


def read_convolution(mixer: Mixer, seen: Seen) -> Observation:
    """From a call of `causal_conv1d_fn`: time is the last axis there, the second here."""
    assert isinstance(mixer, ShortConvolution)  # noqa: S101  (architectures pair them)
    (convolution,) = seen.calls
    call = convolution.arguments
    bias = 0 if call["bias"] is None else call["bias"]

    def finish(y: Tensor) -> Tensor:
        return (y.squeeze(-1) + bias).transpose(1, 2)

    recurrence = mixer.observed(call["weight"].unsqueeze(1))
    inputs = call["hidden_states"].transpose(1, 2).unsqueeze(-1)
    return Observation(recurrence, inputs, finish, convolution.output)


SHORT_CONVOLUTION = Tap(FunctionSource("causal_conv1d_fn"), read_convolution)


@dataclass(frozen=True)
class _Defaults:
    """What a config class says where the config leaves it out."""

    width: int
    blocks: int
    heads: int
    kernel: int


_DEFAULTS = {
    "lfm2": _Defaults(width=2560, blocks=32, heads=32, kernel=3),
    "lfm2_moe": _Defaults(width=2048, blocks=32, heads=32, kernel=3),
    "lfm3": _Defaults(width=2048, blocks=24, heads=16, kernel=7),
}


class TransformersLFM(TransformersArchitecture):
    """`model_type` lfm2, lfm2_moe and lfm3."""

    name: ClassVar[str] = "transformers-lfm"
    model_types: ClassVar[tuple[str, ...]] = tuple(_DEFAULTS)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        conv_L_cache conv_bias full_attn_idxs hidden_size num_attention_heads
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        block_dim block_mlp_init_scale block_norm_eps block_out_init_scale block_use_xavier_init
        conv_dim conv_dim_out conv_use_xavier_init num_heads theta
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"block_use_swiglu": True, "use_pos_enc": True}

    def count(self, config: Configured) -> int:
        """The number of blocks."""
        return positive(config, "num_hidden_layers", _defaults(config).blocks)

    def blocks(self, config: Configured) -> Sequence[Block]:
        """A convolution or an attention each.

        Raises MalformedError where `layer_types` is missing or of another length.
        """
        usual = _defaults(config)
        mixer = ShortConvolution(
            channels=positive(config, "hidden_size", usual.width),
            width=positive(config, "conv_L_cache", usual.kernel),
            bias=config_value(config, "conv_bias", bool, False),
        )
        convolution = Part("conv", mixer, SHORT_CONVOLUTION, SHORT_CONVOLUTION_NAMES)
        attention = attention_part(
            "self_attn", positive(config, "num_attention_heads", usual.heads)
        )
        count = self.count(config)
        types = block_types(config, _KINDS) or _usual_types(config, count)
        check_length(config, types, count)
        return [(convolution if kind == "conv" else attention,) for kind in types]


def _defaults(config: Configured) -> _Defaults:
    return _DEFAULTS[config.config["model_type"]]


def _usual_types(config: Configured, count: int) -> Sequence[str]:
    """What a config without `layer_types` means. Raises MalformedError where it means nothing."""
    model_type = config.config["model_type"]
    if model_type == "lfm2":
        attention = config_value(config, "full_attn_idxs", list, list(range(count)))
        return ["full_attention" if n in attention else "conv" for n in range(count)]
    if model_type == "lfm3":
        cycle = ("sliding_attention", "conv", "full_attention", "conv")
        return ["conv", *(cycle[n % 4] for n in range(1, count))]
    message = f"config.json of {config.model_id} has no layer_types"
    raise MalformedError(message, hint=f"spectrakit inspect {config.model_id}")
