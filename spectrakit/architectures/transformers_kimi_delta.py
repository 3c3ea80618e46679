"""Checkpoints of transformers with Kimi delta attention among attention: Kimi Linear, GLM-5 Next
and Bailing Hybrid (Ling 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit.architectures.attention import attention_part
from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.architectures.transformers_delta import (
    DELTA_NAMES,
    KIMI_DELTA_RULE,
    attention_in_every,
    blocks_by_type,
    text_config,
)
from spectrakit.architectures.transformers_family import (
    Block,
    Part,
    PartConfig,
    TransformersArchitecture,
)
from spectrakit.errors import MalformedError
from spectrakit.mixers import KimiDelta

if TYPE_CHECKING:
    from spectrakit.checkpoints import Checkpoint


class TransformersKimiLinear(TransformersArchitecture):
    """`model_type` kimi_linear."""

    name: ClassVar[str] = "transformers-kimi-linear"
    model_types: ClassVar[tuple[str, ...]] = ("kimi_linear",)
    default_blocks: ClassVar[int | None] = 27
    rotary_at_most: ClassVar[bool] = True

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Kimi delta attention, and latent attention where the config says so."""
        heads, width = _linear_sizes(config, heads=32)
        mixer = KimiDelta(heads, width, width, rate_shape=(1, 1, heads, 1))
        delta = Part("self_attn", mixer, KIMI_DELTA_RULE, DELTA_NAMES)
        attention = attention_part("self_attn", positive(config, "num_attention_heads", 32))
        usual = _kimi_layer_types(config, self.count(config))
        return blocks_by_type(config, usual, delta, attention)


def _linear_section(config: Configured) -> Configured:
    """`linear_attn_config`, where checkpoints were published with one; else empty."""
    section: Mapping[str, Any] = config_value(config, "linear_attn_config", dict, {})
    return PartConfig(config.model_id, section)


def _linear_sizes(config: Configured, heads: int) -> tuple[int, int]:
    """The number of heads and their width; what `linear_attn_config` says comes first."""
    section = _linear_section(config)
    return (
        positive(section, "num_heads", positive(config, "linear_num_heads", heads)),
        positive(section, "head_dim", positive(config, "linear_head_dim", 128)),
    )


def _kimi_layer_types(config: Configured, blocks: int) -> list[str]:
    """The layer types of a config without `layer_types`; the published ones count from 1.

    Raises MalformedError where `full_attn_layers` and `kda_layers` are not all the blocks.
    """
    section = _linear_section(config)
    if not {"full_attn_layers", "kda_layers"} <= section.config.keys():
        return ["full_attention" if n and n % 4 == 0 else "linear_attention" for n in range(blocks)]
    attention = config_value(section, "full_attn_layers", list)
    linear = config_value(section, "kda_layers", list)
    named = attention + linear
    if len(named) != blocks or any(n + 1 not in named for n in range(blocks)):
        message = (
            f"config.json of {config.model_id}: full_attn_layers and kda_layers do not name "
            f"each of {blocks} layers once"
        )
        raise MalformedError(message)
    return ["full_attention" if n + 1 in attention else "linear_attention" for n in range(blocks)]


class TransformersGlm5Next(TransformersArchitecture):
    """`model_type` glm5_next, whose language model is in its `text_config`, and glm5_next_text.

    transformers has no causal language model of it without the vision model: it is run without its
    head, which no layer needs.
    """

    name: ClassVar[str] = "transformers-glm5-next"
    model_types: ClassVar[tuple[str, ...]] = ("glm5_next", "glm5_next_text")
    module_prefix: ClassVar[str] = "layers."
    file_prefixes: ClassVar[tuple[str, ...]] = (
        "model.language_model.layers.",
        "model.layers.",
        "layers.",
    )
    default_blocks: ClassVar[int | None] = 45

    def config(self, checkpoint: Checkpoint) -> Configured:
        """The language model's config."""
        return text_config(checkpoint, self.model_types[1])

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Kimi delta attention, and indexed attention in every fourth block as a rule."""
        heads, width = _linear_sizes(config, heads=64)
        mixer = KimiDelta(
            heads, width, width, rate_shape=(heads,), lower_bound=_glm_lower_bound(config)
        )
        delta = Part("self_attn", mixer, KIMI_DELTA_RULE, DELTA_NAMES)
        usual = attention_in_every(4, self.count(config))
        attention = attention_part("self_attn", positive(config, "num_attention_heads", 64))
        return blocks_by_type(config, usual, delta, attention)

    def rename(self, name: str) -> str | None:
        """The language model's own name; its head and the vision model are left out."""
        if name.startswith(("lm_head.", "model.visual.")):
            return None
        return name.removeprefix("model.").removeprefix("language_model.")


def _glm_lower_bound(config: Configured) -> float | None:
    """The bound of the log-decay; null for none, unless `safe_gate` asks for the usual one."""
    usual = -5.0
    bound = config.config.get("linear_lower_bound", usual)
    section = config.config.get("linear_attn_config")
    if isinstance(section, Mapping):
        bound = section.get("gate_lower_bound", bound)
        if bound is None and section.get("safe_gate", True):
            bound = usual
    if bound is None:
        return None
    return _negative(config, "linear_lower_bound", bound)


def _negative(config: Configured, key: str, bound: object) -> float:
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not bound < 0:
        message = f"config.json of {config.model_id}: {key} is {bound!r}, not a negative number"
        raise MalformedError(message)
    return float(bound)


class TransformersBailingHybrid(TransformersArchitecture):
    """`model_type` bailing_hybrid (Ling 3)."""

    name: ClassVar[str] = "transformers-bailing-hybrid"
    model_types: ClassVar[tuple[str, ...]] = ("bailing_hybrid",)
    default_blocks: ClassVar[int | None] = 42

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Kimi delta attention, and latent attention at the end of every group."""
        heads = positive(config, "num_attention_heads", 32)
        # transformers writes the width of the rotary part into `head_dim` when it saves.
        width = positive(config, "linear_head_dim", positive(config, "head_dim", 128))
        bounded = config_value(config, "kda_safe_gate", bool, True)
        bound = config_value(config, "kda_lower_bound", float, -5.0)
        mixer = KimiDelta(
            heads,
            width,
            width,
            rate_shape=(heads,),
            lower_bound=_negative(config, "kda_lower_bound", bound) if bounded else None,
        )
        delta = Part("self_attn", mixer, KIMI_DELTA_RULE, DELTA_NAMES, file_path="attention")
        usual = attention_in_every(positive(config, "layer_group_size", 6), self.count(config))
        return blocks_by_type(config, usual, delta, attention_part("self_attn", heads))


KIMI_DELTA_FAMILIES = (TransformersKimiLinear, TransformersGlm5Next, TransformersBailingHybrid)
