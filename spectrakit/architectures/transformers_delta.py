"""Checkpoints of transformers with Gated DeltaNet layers among attention: Qwen3-Next, Qwen3.5,
Qwen4-Exp and OLMo Hybrid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit.architectures.attention import ATTENTION, SOFTMAX, attention_part
from spectrakit.architectures.base import Configured, positive
from spectrakit.architectures.block_types import block_types, check_length
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.taps import FunctionSource, Seen, Tap, first
from spectrakit.architectures.transformers_family import (
    BLOCK_TYPES,
    Block,
    Part,
    PartConfig,
    TransformersArchitecture,
)
from spectrakit.mixers import GatedDeltaNet, KimiDelta, Observation
from spectrakit.mixers.layers import unit_length

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer


def read_delta_rule(mixer: Mixer, seen: Seen) -> Observation:
    """From a call of a delta rule, which computes in float32 whatever the model's dtype."""
    assert isinstance(mixer, GatedDeltaNet | KimiDelta)  # noqa: S101  (the taps' own mixers)
    (scan,) = seen.calls
    call = scan.arguments
    query, key = call["query"].float(), call["key"].float()
    if call["use_qk_l2norm_in_kernel"]:
        query, key = unit_length(query), unit_length(key)
    recurrence = mixer.observed(call["g"].float(), call["beta"].float(), key, query)
    return Observation(recurrence, call["value"].float(), outputs=first(scan.output))


GATED_DELTA_RULE = Tap(FunctionSource("torch_chunk_gated_delta_rule"), read_delta_rule)
KIMI_DELTA_RULE = Tap(FunctionSource("chunk_kimi_delta_attention"), read_delta_rule)

#: Where the parameters of a delta rule lie inside its module, in files.
DELTA_NAMES = {"A_log": "A_log", "step_bias": "dt_bias"}

#: `layer_types` whose layer is a softmax attention; the last two choose anew which keys they read.
_ATTENTION = ("full_attention", "indexed_attention", "deepseek_sparse_attention")


def blocks_by_type(
    config: Configured, usual: Sequence[str], linear: Part, attention: Part
) -> Sequence[Block]:
    """One layer each: `linear` or `attention`, as `layer_types` says.

    usual: the types of a config that leaves them out.

    Raises MalformedError where `layer_types` does not name a known type for every block.
    """
    types = block_types(config, ("linear_attention", *_ATTENTION)) or usual
    check_length(config, types, len(usual))
    return [(attention if kind in _ATTENTION else linear,) for kind in types]


def attention_in_every(period: int, blocks: int) -> list[str]:
    """Layer types where the last of every `period` blocks is attention."""
    return [
        "linear_attention" if (number + 1) % period else "full_attention"
        for number in range(blocks)
    ]


class TransformersQwen3Next(TransformersArchitecture):
    """`model_type` qwen3_next."""

    name: ClassVar[str] = "transformers-qwen3-next"
    model_types: ClassVar[tuple[str, ...]] = ("qwen3_next",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        full_attention_interval linear_key_head_dim linear_num_key_heads linear_num_value_heads
        linear_value_head_dim num_attention_heads
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        mamba_ssm_dtype mtp_num_hidden_layers mtp_use_dedicated_embeddings
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"attn_output_gate": True}
    default_blocks: ClassVar[int | None] = 48
    attention: ClassVar[Tap] = ATTENTION

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Gated DeltaNet, and attention in every fourth block unless the config says otherwise."""
        mixer = GatedDeltaNet(
            heads=positive(config, "linear_num_value_heads", 32),
            head_width=positive(config, "linear_value_head_dim", 128),
            state_size=positive(config, "linear_key_head_dim", 128),
            groups=positive(config, "linear_num_key_heads", 16),
        )
        usual = attention_in_every(
            positive(config, "full_attention_interval", 4), self.count(config)
        )
        delta = Part("linear_attn", mixer, GATED_DELTA_RULE, DELTA_NAMES)
        heads = positive(config, "num_attention_heads", 16)
        attention = attention_part("self_attn", heads, self.attention)
        return blocks_by_type(config, usual, delta, attention)


class TransformersQwen35(TransformersQwen3Next):
    """`model_type` qwen3_5, whose language model is in its `text_config`, and qwen3_5_text."""

    name: ClassVar[str] = "transformers-qwen3-5"
    model_types: ClassVar[tuple[str, ...]] = ("qwen3_5", "qwen3_5_text")
    file_prefixes: ClassVar[tuple[str, ...]] = (
        "model.language_model.layers.",
        "model.layers.",
        "layers.",
    )
    default_blocks: ClassVar[int | None] = 32

    def config(self, checkpoint: TensorSource) -> Configured:
        """The language model's config."""
        return text_config(checkpoint, self.model_types[1])

    def rename(self, name: str) -> str | None:
        """Leave out the vision model and the heads that predict further tokens."""
        return None if name.startswith("model.visual.") else super().rename(name)


class TransformersQwen35Moe(TransformersQwen35):
    """`model_type` qwen3_5_moe, whose language model is in its `text_config`, and its text type."""

    name: ClassVar[str] = "transformers-qwen3-5-moe"
    model_types: ClassVar[tuple[str, ...]] = ("qwen3_5_moe", "qwen3_5_moe_text")
    #: No block is without experts, whose size has a name of its own.
    irrelevant: ClassVar[frozenset[str]] = TransformersQwen35.irrelevant | {"intermediate_size"}
    default_blocks: ClassVar[int | None] = 40


class TransformersQwen4Exp(TransformersQwen35):
    """`model_type` qwen4_exp, whose language model is in its `text_config`, and qwen4_exp_text."""

    name: ClassVar[str] = "transformers-qwen4-exp"
    model_types: ClassVar[tuple[str, ...]] = ("qwen4_exp", "qwen4_exp_text")
    irrelevant: ClassVar[frozenset[str]] = TransformersQwen35Moe.irrelevant
    default_blocks: ClassVar[int | None] = 40
    #: Its attention combines the mask with the choice of its indexer, so that mask has to be one.
    attention: ClassVar[Tap] = SOFTMAX


def text_config(checkpoint: TensorSource, model_type: str) -> Configured:
    """The config of the language model, with the `model_type` transformers has for it alone.

    A config without a `text_config` is that of the language model. Whether it shares the embedding
    with the head, and how it is quantised, a wrapper may say of the whole model.
    """
    outer = checkpoint.config
    inner = outer.get("text_config")
    if not isinstance(inner, Mapping):
        return PartConfig(checkpoint.model_id, {**outer, "model_type": model_type})
    shared = ("tie_word_embeddings", "quantization_config")
    whole: dict[str, Any] = {key: outer[key] for key in shared if key in outer}
    return PartConfig(checkpoint.model_id, {**whole, **inner, "model_type": model_type})


class TransformersOlmoHybrid(TransformersArchitecture):
    """`model_type` olmo_hybrid. Its beta may be doubled (`linear_allow_neg_eigval`)."""

    name: ClassVar[str] = "transformers-olmo-hybrid"
    model_types: ClassVar[tuple[str, ...]] = ("olmo_hybrid",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        hidden_size linear_key_head_dim linear_num_key_heads linear_num_value_heads
        linear_value_head_dim num_attention_heads
        """
    )
    default_blocks: ClassVar[int | None] = 32
    rotary_at_most: ClassVar[bool] = True

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Gated DeltaNet, and attention in every fourth block unless the config says otherwise."""
        heads = positive(config, "num_attention_heads", 30)
        groups = positive(config, "linear_num_key_heads", heads)
        width = positive(config, "hidden_size", 3840)
        state_size = positive(config, "linear_key_head_dim", max(1, int(0.75 * width / groups)))
        mixer = GatedDeltaNet(
            heads=positive(config, "linear_num_value_heads", heads),
            head_width=positive(config, "linear_value_head_dim", 2 * state_size),
            state_size=state_size,
            groups=groups,
        )
        usual = attention_in_every(4, self.count(config))
        if "full_attention" not in usual:
            usual[-1] = "full_attention"
        delta = Part("linear_attn", mixer, GATED_DELTA_RULE, DELTA_NAMES)
        return blocks_by_type(config, usual, delta, attention_part("self_attn", heads))


GATED_DELTA_FAMILIES = (
    TransformersQwen3Next,
    TransformersQwen35,
    TransformersQwen35Moe,
    TransformersQwen4Exp,
    TransformersOlmoHybrid,
)
