"""Transformers whose every block has one softmax attention, by family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.attention import (
    ATTENTION,
    SCALED_DOT_PRODUCT,
    SOFTMAX,
    attention_part,
)
from spectrakit.architectures.attention_config_keys import published_keys
from spectrakit.architectures.bare.mambas import holds_mamba
from spectrakit.architectures.base import Configured, positive
from spectrakit.architectures.config_keys import ConfigKeys, words
from spectrakit.architectures.transformers_family import Block, TransformersArchitecture
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from spectrakit.architectures.base import Layer
    from spectrakit.architectures.taps import Tap
    from spectrakit.checkpoints import TensorSource


@dataclass(frozen=True)
class AttentionFamily:
    """Where attention lies in the models of some `model_type`s.

    blocks: prefix of the numbered blocks in the causal language model; files of the bare model lack
    its first word. attention: path of the attention's module inside a block. heads: the config
    class's own number, for configs that leave it out.
    """

    model_types: tuple[str, ...]
    blocks: str = "model.layers."
    attention: str = "self_attn"
    tap: Tap = ATTENTION
    heads: int | None = None


_LIKE_LLAMA = (
    "afmoe", "apertus", "arcee", "bitnet", "cohere", "cohere2", "cwm", "deepseek_v2", "deepseek_v3",
    "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe", "flex_olmo", "gemma", "gemma2",
    "gemma4_text", "glm", "glm4", "glm4_moe", "gpt_oss", "granite", "granitemoe",
    "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "jais2", "laguna", "llama",
    "minimax_m2", "ministral", "ministral3", "mistral", "mixtral", "nanochat",
    "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "persimmon", "phi", "phi3", "phimoe", "qwen2",
    "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "solar_open", "stablelm",
    "starcoder2", "vaultgemma",
)  # fmt: skip

FAMILIES = (
    AttentionFamily(_LIKE_LLAMA),
    AttentionFamily(("gemma3_text",), heads=8),
    # Of these, transformers has no class with a language head, and so no `model` around the blocks.
    AttentionFamily(
        ("qwen2_5_vl_text", "qwen2_vl_text", "qwen3_vl_moe_text", "qwen3_vl_text"), "layers."
    ),
    AttentionFamily(("opt",), "model.decoder.layers."),
    AttentionFamily(("biogpt",), "biogpt.layers."),
    AttentionFamily(("gpt_neox",), "gpt_neox.layers.", "attention"),
    AttentionFamily(("gpt2", "gpt_bigcode"), "transformer.h.", "attn"),
    AttentionFamily(("ctrl",), "transformer.h.", "multi_head_attention"),
    AttentionFamily(("falcon",), "transformer.h.", "self_attention", SCALED_DOT_PRODUCT),
    AttentionFamily(("bloom",), "transformer.h.", "self_attention", SOFTMAX),
    AttentionFamily(("codegen", "gptj", "openai-gpt"), "transformer.h.", "attn", SOFTMAX),
    AttentionFamily(("gpt_neo",), "transformer.h.", "attn.attention", SOFTMAX),
    AttentionFamily(("gpt_neox_japanese",), "gpt_neox_japanese.layers.", "attention", SOFTMAX),
    AttentionFamily(("mpt",), "transformer.blocks.", "attn", SOFTMAX),
    AttentionFamily(("xglm",), tap=SOFTMAX),
)

_BY_TYPE = {model_type: family for family in FAMILIES for model_type in family.model_types}

#: Models of text and images around one of the families, which is in their `text_config`.
_WRAPPERS = (
    "aya_vision", "cohere2_vision", "deepseek_vl", "deepseek_vl_hybrid", "exaone4_5", "fast_vlm",
    "fuyu", "gemma3", "gemma4", "got_ocr2", "idefics2", "idefics3", "internvl", "janus",
    "lighton_ocr", "llava", "llava_next", "llava_next_video", "llava_onevision", "mistral3",
    "ovis2", "paligemma", "perception_lm", "qianfan_ocr", "qwen2_5_vl", "qwen2_vl", "qwen3_vl",
    "qwen3_vl_moe", "shieldgemma2", "smolvlm", "video_llama_3", "video_llava", "vipllava",
)  # fmt: skip

#: Where a wrapper's files have the language model's body.
_WRAPPED = (
    "language_model.model.",
    "model.language_model.model.",
    "model.language_model.",
    "model.text_model.",
)

#: Its towers for images and videos, and what joins them to the language model.
_OF_IMAGES = (
    "aligner.", "connector.", "generation_aligner.", "generation_embeddings.", "generation_head.",
    "high_res_vision_", "image_newline", "image_tower.", "multi_modal_projector.", "projector.",
    "video_tower.", "vision_embed_tokens.", "vision_encoder.", "vision_model.",
    "vision_projection.", "vision_tower.", "visual.", "visual_embeddings_table.", "vqmodel.",
)  # fmt: skip

#: What families call the number of heads, and of blocks.
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


class TransformersAttention(TransformersArchitecture):
    """Causal language models of the families in `FAMILIES`, alone or beside a vision tower."""

    name: ClassVar[str] = "transformers-attention"
    model_types: ClassVar[tuple[str, ...]] = (*_BY_TYPE, *_WRAPPERS)
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        attention_softmax_in_fp32 bias_dropout_fusion cache_implementation init_config
        logits_to_keep masked_softmax_fusion model_max_length n_ctx offset_alibi seq_length
        skip_bias_add skip_bias_add_qkv summary_activation summary_first_dropout
        summary_proj_to_labels summary_type summary_use_proj tokenizer_name verbose
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"rotary": True}

    def claims(self, checkpoint: TensorSource) -> bool:
        """By `model_type`, unless some of its attention has given way to Mamba."""
        return super().claims(checkpoint) and not holds_mamba(checkpoint)

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:
        """Everything is left to the library; Gemma's files have two names of the activation."""
        published = published_keys(self.config(checkpoint).config)
        if isinstance(checkpoint.config.get("text_config"), Mapping):
            published = published.inside("text_config")
        keys = super().config_keys(checkpoint) | published
        return keys | ConfigKeys(left=frozenset({"hidden_act"}))

    def prefixes(self, config: Configured) -> tuple[str, tuple[str, ...]]:
        """As the family has them."""
        blocks = _family(config).blocks
        inside = blocks.partition(".")[2] or blocks
        return blocks, (blocks, inside, *(wrapped + inside for wrapped in _WRAPPED))

    def count_key(self, config: Configured) -> str:
        """As the family calls it."""
        return _first_key(config, _BLOCKS)

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One attention each."""
        family = _family(config)
        heads = positive(config, _first_key(config, _HEADS), family.heads)
        part = attention_part(family.attention, heads, family.tap)
        return [(part,)] * self.count(config)

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every attention. Raises MalformedError for a block that holds none."""
        layers = super().layers(checkpoint)
        if checkpoint.module is None:
            check_attention(checkpoint, layers)
        return layers

    def rename(self, name: str) -> str | None:
        """The language model alone: a wrapper's vision tower and projector stay behind."""
        for wrapped in _WRAPPED:
            if name.startswith(wrapped):
                return "model." + name.removeprefix(wrapped)
        if name.removeprefix("model.").startswith(_OF_IMAGES):
            return None
        return name.removeprefix("language_model.")


def check_attention(checkpoint: TensorSource, layers: Sequence[Layer]) -> None:
    """Raise MalformedError where the block of a layer holds tensors and none of its attention."""
    modules: dict[str, dict[str, None]] = {}
    for name in checkpoint.tensors:
        path = name
        while path := path.rpartition(".")[0]:
            modules.setdefault(path, {})[name] = None
    for layer in layers:
        path = layer.file_path or layer.path
        block = re.sub(r"(\.\d+)\.[^\d]*$", r"\1", path)
        if path not in modules and block in modules:
            held = [name[len(block) + 1 :] for name in modules[block]]
            shown = ", ".join(held[:4]) + (", ..." if len(held) > 4 else "")
            message = (
                f"layer {layer.index}: there is no {path}.* in the weights; {block} has {shown}"
            )
            raise MalformedError(message, hint="is this config.json the one of these weights?")


def _family(config: Configured) -> AttentionFamily:
    return _BY_TYPE[config.config["model_type"]]


def _first_key(config: Configured, keys: Sequence[str]) -> str:
    return next((key for key in keys if config.config.get(key) is not None), keys[0])
