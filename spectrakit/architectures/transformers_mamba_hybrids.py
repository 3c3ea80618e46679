"""Hybrids of Mamba with attention, in the format of transformers.

    jamba                       Mamba, with norms of s, b and c, or attention
    bamba, granitemoehybrid     Mamba-2 or attention
    falcon_h1                   Mamba-2 beside attention, in every block
    nemotron_h                  Mamba-2, attention, an MLP or experts: one of them a block

MLPs and experts move nothing along the sequence, and are no layers here. For the blocks of Zamba
see `transformers_zamba`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.attention import attention_part
from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.architectures.block_types import block_types, check_length
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.mamba_departures import clamped_to, floor_of_steps
from spectrakit.architectures.transformers_family import (
    BLOCK_TYPES,
    Block,
    Part,
    PartConfig,
    TransformersArchitecture,
)
from spectrakit.architectures.transformers_mamba import (
    BLOCKS,
    CHUNK_SCAN,
    MAMBA2_NAMES,
    MAMBA_NAMES,
    SELECTIVE_SCAN,
    step_limit,
)
from spectrakit.errors import MalformedError
from spectrakit.mixers import Mamba, Mamba2
from spectrakit.mixers.mamba2 import Multipliers

if TYPE_CHECKING:
    from spectrakit.architectures.equations import Departure
    from spectrakit.checkpoints import TensorSource

JAMBA_NAMES = MAMBA_NAMES | {
    "step_norm": "dt_layernorm.weight",
    "key_norm": "b_layernorm.weight",
    "query_norm": "c_layernorm.weight",
}


class TransformersJamba(TransformersArchitecture):
    """`model_type` jamba: attention once in every `attn_layer_period` blocks."""

    name: ClassVar[str] = "transformers-jamba"
    model_types: ClassVar[tuple[str, ...]] = ("jamba",)
    reads: ClassVar[frozenset[str]] = words(
        """
        hidden_size mamba_conv_bias mamba_d_conv mamba_d_state mamba_expand mamba_proj_bias
        num_attention_heads attn_layer_offset attn_layer_period mamba_dt_rank
        mamba_inner_layernorms rms_norm_eps
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        calc_logits_for_entire_prompt
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"mamba_inner_layernorms": True}
    default_blocks: ClassVar[int | None] = 32
    rotary_at_most: ClassVar[bool] = True

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Mamba or attention."""
        mamba = Part("mamba", _jamba(config), SELECTIVE_SCAN, JAMBA_NAMES)
        attention = _attention(config, "self_attn")
        period = positive(config, "attn_layer_period", 8)
        offset = config_value(config, "attn_layer_offset", int, 4)
        return [
            (attention if number % period == offset else mamba,)
            for number in range(self.count(config))
        ]


def _jamba(config: Configured) -> Mamba:
    return replace(
        mamba_sizes(config, 4096),
        norm_epsilon=config_value(config, "rms_norm_eps", float, 1e-6),
        norm_weights=True,
    )


def mamba_sizes(config: Configured, width: int) -> Mamba:
    """The keys that Jamba and Zamba share; width: the model's, where the config has none."""
    width = positive(config, "hidden_size", width)
    automatic = config.config.get("mamba_dt_rank", "auto") == "auto"
    return Mamba(
        model_width=width,
        channels=positive(config, "mamba_expand", 2) * width,
        state_size=positive(config, "mamba_d_state", 16),
        step_rank=math.ceil(width / 16) if automatic else positive(config, "mamba_dt_rank"),
        convolution_width=positive(config, "mamba_d_conv", 4),
        projection_bias=config_value(config, "mamba_proj_bias", bool, False),
        convolution_bias=config_value(config, "mamba_conv_bias", bool, True),
    )


class TransformersBamba(TransformersArchitecture):
    """`model_type` bamba: attention in the blocks of `attn_layer_indices`."""

    name: ClassVar[str] = "transformers-bamba"
    model_types: ClassVar[tuple[str, ...]] = ("bamba",)
    reads: ClassVar[frozenset[str]] = words(
        """
        hidden_size mamba_conv_bias mamba_d_conv mamba_d_state mamba_expand mamba_proj_bias
        num_attention_heads mamba_n_groups mamba_n_heads rms_norm_eps time_step_limit
        attn_layer_indices
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        mamba_dt_rank use_mamba_kernels
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"attn_rotary_emb": 64}
    default_blocks: ClassVar[int | None] = 32

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Mamba-2 or attention."""
        mamba = Part("mamba", _bamba(config, _expanded(config), 1e-5), CHUNK_SCAN, MAMBA2_NAMES)
        attention = _attention(config, "self_attn")
        attending = config_value(config, "attn_layer_indices", list, [])
        return [
            (attention if number in attending else mamba,) for number in range(self.count(config))
        ]


class TransformersGraniteMoeHybrid(TransformersArchitecture):
    """`model_type` granitemoehybrid: Granite 4, whose `layer_types` may all be attention."""

    name: ClassVar[str] = "transformers-granitemoehybrid"
    model_types: ClassVar[tuple[str, ...]] = ("granitemoehybrid",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        hidden_size mamba_conv_bias mamba_d_conv mamba_d_state mamba_expand mamba_proj_bias
        num_attention_heads mamba_n_groups mamba_n_heads rms_norm_eps time_step_limit
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        init_method use_mamba_kernels
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"normalization_function": "rmsnorm"}
    default_blocks: ClassVar[int | None] = 32
    rotary_at_most: ClassVar[bool] = True

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Mamba-2 or attention. Raises MalformedError where `layer_types` is of another length."""
        mamba = Part("mamba", _bamba(config, _expanded(config), 1e-6), CHUNK_SCAN, MAMBA2_NAMES)
        parts = {"linear_attention": mamba, "full_attention": _attention(config, "self_attn")}
        count = self.count(config)
        types = block_types(config, parts) or ["linear_attention"] * count
        check_length(config, types, count)
        return [(parts[kind],) for kind in types]


class TransformersFalconH1(TransformersArchitecture):
    """`model_type` falcon_h1: in every block the sum of a Mamba-2 layer and of attention."""

    name: ClassVar[str] = "transformers-falcon-h1"
    model_types: ClassVar[tuple[str, ...]] = ("falcon_h1",)
    reads: ClassVar[frozenset[str]] = words(
        """
        hidden_size mamba_conv_bias mamba_d_conv mamba_d_state mamba_expand mamba_proj_bias
        num_attention_heads mamba_n_groups mamba_n_heads rms_norm_eps time_step_limit
        mamba_d_ssm mamba_norm_before_gate mamba_rms_norm projectors_bias ssm_in_multiplier
        ssm_multipliers
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        mlp_expansion_factor use_mamba_kernels
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"mamba_use_mlp": True}
    default_blocks: ClassVar[int | None] = 32

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Mamba-2, and then attention on the same input."""
        mamba = Part("mamba", _falcon_h1(config), CHUNK_SCAN, MAMBA2_NAMES)
        return [(mamba, _attention(config, "self_attn"))] * self.count(config)


def _falcon_h1(config: Configured) -> Mamba2:
    expanded = config.config.get("mamba_d_ssm", 1024) is None  # said to be null, not left out
    channels = _expanded(config) if expanded else positive(config, "mamba_d_ssm", 1024)
    mixer = _bamba(config, channels, norm_epsilon=1e-5)
    normed = config_value(config, "mamba_rms_norm", bool, False)
    multipliers = config_value(config, "ssm_multipliers", list, [1.0] * 5)
    if len(multipliers) != 5 or not all(isinstance(value, int | float) for value in multipliers):
        message = (
            f"config.json of {config.model_id}: ssm_multipliers is {multipliers!r}, "
            "expected five numbers"
        )
        raise MalformedError(message)
    return replace(
        mixer,
        norm_epsilon=mixer.norm_epsilon if normed else None,
        norm_before_gate=normed and config_value(config, "mamba_norm_before_gate", bool, True),
        output_bias=config_value(config, "projectors_bias", bool, False),
        multipliers=Multipliers(
            config_value(config, "ssm_in_multiplier", float, 1.0), tuple(multipliers)
        ),
    )


class TransformersNemotronH(TransformersArchitecture):
    """`model_type` nemotron_h: the kinds of blocks as a list, or as a string of letters."""

    name: ClassVar[str] = "transformers-nemotron-h"
    model_types: ClassVar[tuple[str, ...]] = ("nemotron_h",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        attention_head_dim conv_kernel hidden_size hybrid_override_pattern layer_norm_epsilon
        mamba_conv_bias mamba_d_conv mamba_dt_limit mamba_head_dim mamba_n_groups mamba_num_heads
        n_groups num_attention_heads ssm_state_size time_step_limit use_bias use_conv_bias
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        mamba_num_groups mamba_ssm_dtype norm_eps partial_rotary_factor rms_norm_eps rope_theta
        time_step_rank
        """
    )
    departures: ClassVar[tuple[Departure, ...]] = (
        floor_of_steps(
            "nemotron_h",
            "`time_step_limit`, published as [0, inf] (NVIDIA's modeling_nemotron_h.py, with its "
            "kernels; without them it has the floor as well)",
            "transformers 5.23 and 5.24, pull request 48989",
        ),
    )
    file_prefixes: ClassVar[tuple[str, ...]] = (BLOCKS, "model.layers.", "layers.")
    rotary_at_most: ClassVar[bool] = True

    def config(self, checkpoint: TensorSource) -> Configured:
        """The config by its present keys: some files name them as older config classes did."""
        config = super().config(checkpoint)
        renamed = {
            key: config.config[older]
            for older, key in _OLDER_NEMOTRON_KEYS.items()
            if older in config.config
        }
        # This one name transformers does not know: of the two, its own comes first.
        width = {"head_dim": config.config.get("attention_head_dim", 128)}
        return PartConfig(config.model_id, {**width, **config.config, **renamed})

    def count(self, config: Configured) -> int:
        """As many as there are kinds: `num_hidden_layers` is not looked at."""
        return len(_nemotron_types(config))

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One mixer, MLP or mixture of experts each."""
        mixer = _nemotron_h(config)
        amend = clamped_to(mixer.step_limit)
        mamba = Part("mixer", mixer, CHUNK_SCAN, MAMBA2_NAMES, amend=amend)
        parts = {
            "linear_attention": (mamba,),
            "full_attention": (_attention(config, "mixer"),),
        }
        return [parts.get(kind, ()) for kind in _nemotron_types(config)]


_OLDER_NEMOTRON_KEYS = {
    "mamba_n_groups": "n_groups",
    "mamba_d_conv": "conv_kernel",
    "mamba_conv_bias": "use_conv_bias",
    "mamba_dt_limit": "time_step_limit",
}

#: Kinds of blocks by their letters in `hybrid_override_pattern`.
_LETTERS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}


def _nemotron_types(config: Configured) -> Sequence[str]:
    types = block_types(config, _LETTERS.values())
    if types is not None:
        return types
    pattern = config_value(config, "hybrid_override_pattern", str, "ME*-")
    strange = sorted(set(pattern) - set(_LETTERS))
    if strange or not pattern:
        message = (
            f"config.json of {config.model_id}: hybrid_override_pattern is {pattern!r}, "
            f"expected letters of {''.join(_LETTERS)}"
        )
        raise MalformedError(message)
    return [_LETTERS[letter] for letter in pattern]


def _nemotron_h(config: Configured) -> Mamba2:
    return Mamba2(
        model_width=positive(config, "hidden_size", 4096),
        heads=positive(config, "mamba_num_heads", 128),
        head_width=positive(config, "mamba_head_dim", 64),
        state_size=positive(config, "ssm_state_size", 128),
        groups=positive(config, "n_groups", 8),
        convolution_width=positive(config, "conv_kernel", 4),
        step_limit=step_limit(config, "time_step_limit", config.config),
        norm_epsilon=config_value(config, "layer_norm_epsilon", float, 1e-5),
        projection_bias=config_value(config, "use_bias", bool, False),
        convolution_bias=config_value(config, "use_conv_bias", bool, True),
    )


def _attention(config: Configured, path: str) -> Part:
    return attention_part(path, positive(config, "num_attention_heads", 32))


def _expanded(config: Configured) -> int:
    """`mamba_expand` times the model's width."""
    return positive(config, "mamba_expand", 2) * positive(config, "hidden_size", 4096)


def _bamba(config: Configured, channels: int, norm_epsilon: float) -> Mamba2:
    """The keys that Bamba, Granite and Falcon-H1 share; norm_epsilon: where the config has none."""
    heads = positive(config, "mamba_n_heads", 128)
    return Mamba2(
        model_width=positive(config, "hidden_size", 4096),
        heads=heads,
        head_width=channels // heads,
        state_size=positive(config, "mamba_d_state", 256),
        groups=positive(config, "mamba_n_groups", 1),
        convolution_width=positive(config, "mamba_d_conv", 4),
        step_limit=step_limit(config, "time_step_limit", config.config),
        norm_epsilon=config_value(config, "rms_norm_eps", float, norm_epsilon),
        projection_bias=config_value(config, "mamba_proj_bias", bool, False),
        convolution_bias=config_value(config, "mamba_conv_bias", bool, True),
    )


MAMBA_HYBRIDS: tuple[type[TransformersArchitecture], ...] = (
    TransformersJamba,
    TransformersBamba,
    TransformersGraniteMoeHybrid,
    TransformersFalconH1,
    TransformersNemotronH,
)
