"""Zamba and Zamba-2: Mamba in every block, and in some a transformer that several blocks share.

    block    out = in + mamba(in)
    hybrid   out = in + mamba(in + W transformer(in, embedding))

The transformer's weights are tied, its module is not: at every depth where it runs its attention is
a layer of its own. Files hold the weights once.
"""

from __future__ import annotations

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
    TransformersArchitecture,
)
from spectrakit.architectures.transformers_mamba import (
    CHUNK_SCAN,
    MAMBA2_NAMES,
    MAMBA_NAMES,
    SELECTIVE_SCAN,
    step_limit,
)
from spectrakit.architectures.transformers_mamba_hybrids import mamba_sizes
from spectrakit.mixers import Mamba, Mamba2

if TYPE_CHECKING:
    from spectrakit.architectures.equations import Departure

ZAMBA_NAMES = MAMBA_NAMES | {
    "step_bias": "dt_proj_bias",
    "step_projection": "dt_proj_weight",
    "selection_projection": "x_proj_weight",
}

_KINDS = ("linear_attention", "hybrid")


class TransformersZamba(TransformersArchitecture):
    """`model_type` zamba: one transformer, shared by all hybrid blocks."""

    name: ClassVar[str] = "transformers-zamba"
    model_types: ClassVar[tuple[str, ...]] = ("zamba",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        hidden_size mamba_d_conv mamba_d_state mamba_expand n_mamba_heads num_attention_heads
        attn_layer_offset attn_layer_period mamba_conv_bias mamba_dt_rank mamba_proj_bias
        """
    )
    default_blocks: ClassVar[int | None] = 76
    rotary_at_most: ClassVar[bool] = True

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Mamba; in a hybrid block attention before it."""
        count = self.count(config)
        types = block_types(config, _KINDS) or _zamba_types(config, count)
        check_length(config, types, count)
        mixer = _zamba(config)
        attention = attention_part(
            "shared_transf.self_attn", positive(config, "num_attention_heads", 16)
        )
        hybrid = (attention, Part("mamba_decoder.mamba", mixer, SELECTIVE_SCAN, ZAMBA_NAMES))
        plain = (Part("mamba", mixer, SELECTIVE_SCAN, ZAMBA_NAMES),)
        return [hybrid if kind == "hybrid" else plain for kind in types]


def _zamba_types(config: Configured, count: int) -> Sequence[str]:
    """What the config class makes of a config without a list: it counts from the third block."""
    period = positive(config, "attn_layer_period", 6)
    offset = config_value(config, "attn_layer_offset", int, 4)
    first = ["linear_attention", "linear_attention", "hybrid"]
    return first + [
        "hybrid" if number % period == offset else "linear_attention"
        for number in range(count - len(first))
    ]


def _zamba(config: Configured) -> Mamba:
    return replace(mamba_sizes(config, 3712), groups=positive(config, "n_mamba_heads", 2))


class TransformersZamba2(TransformersArchitecture):
    """`model_type` zamba2: `num_mem_blocks` transformers, which the hybrid blocks use in turn."""

    name: ClassVar[str] = "transformers-zamba2"
    model_types: ClassVar[tuple[str, ...]] = ("zamba2",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        hidden_size mamba_d_conv mamba_d_state mamba_expand n_mamba_heads num_attention_heads
        add_bias_linear mamba_ngroups time_step_limit
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        attention_hidden_size conv_dimension expansion_factor ffn_hidden_size hybrid_layer_ids
        kv_channels lora_rank mamba_dt_rank mamba_headdim num_query_groups state_size
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {
        "gated_linear_unit": True,
        "use_shared_block_lora": True,
        "use_shared_mlp_adapter": True,
    }
    departures: ClassVar[tuple[Departure, ...]] = (
        floor_of_steps(
            "zamba2", "none (Zyphra/Zamba2, mamba2_layer.py at 1b182f4)", "transformers 5.23"
        ),
    )
    default_blocks: ClassVar[int | None] = 54
    rotary_at_most: ClassVar[bool] = True

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Mamba-2; in a hybrid block attention before it."""
        types = block_types(config, _KINDS) or _zamba2_types()
        check_length(config, types, self.count(config))
        mixer = _zamba2(config)
        attention = attention_part(
            "shared_transformer.self_attn", positive(config, "num_attention_heads", 32)
        )
        amend = clamped_to(mixer.step_limit)
        inside = Part("mamba_decoder.mamba", mixer, CHUNK_SCAN, MAMBA2_NAMES, amend=amend)
        hybrid = (attention, inside)
        plain = (Part("mamba", mixer, CHUNK_SCAN, MAMBA2_NAMES, amend=amend),)
        return [hybrid if kind == "hybrid" else plain for kind in types]


def _zamba2_types() -> Sequence[str]:
    """What the config class makes of a config without a list: Zamba2-2.7B's."""
    hybrid = {*range(6, 43, 6), 47, 51}
    return ["hybrid" if number in hybrid else "linear_attention" for number in range(54)]


def _zamba2(config: Configured) -> Mamba2:
    width = positive(config, "hidden_size", 2560)
    heads = positive(config, "n_mamba_heads", 8)
    return Mamba2(
        model_width=width,
        heads=heads,
        head_width=positive(config, "mamba_expand", 2) * width // heads,
        state_size=positive(config, "mamba_d_state", 64),
        groups=positive(config, "mamba_ngroups", 1),
        convolution_width=positive(config, "mamba_d_conv", 4),
        step_limit=step_limit(config, "time_step_limit", config.config),
        norm_epsilon=1e-5,  # whatever `rms_norm_eps` is
        projection_bias=config_value(config, "add_bias_linear", bool, False),
        convolution_bias=True,  # whatever `use_conv_bias` is
    )
