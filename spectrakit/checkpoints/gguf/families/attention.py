"""Language models of softmax attention alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.gguf.families.common import (
    ATTENTION_NAMES,
    GATED_MLP_NAMES,
    LAYER_EPSILON,
    OUTSIDE,
    RMS_EPSILON,
    attention_keys,
    expert_keys,
    expert_parts,
    rotary_keys,
    rotary_parts,
    shared_expert_gate,
    shared_expert_names,
    size_keys,
)
from spectrakit.checkpoints.gguf.naming import GGUFFamily, Naming, Part
from spectrakit.checkpoints.turns import Shifted, Transposed
from spectrakit.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from spectrakit.checkpoints.gguf.metadata import Metadata

_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_QUERY_AND_KEY_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
#: Gemma's have norms before and after both parts of a block.
_FOUR_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}  #: OLMo 2 has them on what attention and the feed-forward part give.
_OUTPUT_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}

#: What Llama 3 divides its rotary frequencies by; the constants behind it are of all its models.
_FREQUENCIES = "rope_freqs.weight"
_LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_LONG, _SHORT = "rope_factors_long.weight", "rope_factors_short.weight"


@dataclass(frozen=True)
class _LikeLlama:
    """A family whose blocks are those of Llama, but for what is said here.

    paired: queries and keys are stored as ggml turns them. shifted: norms multiply by 1 + weight.
    experts: where they are in a block, if it has them. more: the config's other keys.
    """

    model_type: str
    norms: dict[str, str]
    paired: bool = False
    shifted: bool = False
    experts: str | None = None
    more: Callable[[Metadata], dict[str, Any]] = lambda _: {}

    def config(self, metadata: Metadata) -> dict[str, Any]:
        keys = attention_keys(metadata)
        heads = keys["num_attention_heads"]
        width = keys.get("head_dim") or metadata.count("embedding_length") // max(1, heads)
        return (
            size_keys(metadata)
            | keys
            | rotary_keys(metadata, width)
            | {
                "model_type": self.model_type,
                "intermediate_size": max(metadata.per_block("feed_forward_length"), default=0),
                "rms_norm_eps": metadata.number(RMS_EPSILON),
                **self.more(metadata),
            }
        )

    def naming(self, _: Metadata) -> Naming:
        inside = ATTENTION_NAMES | GATED_MLP_NAMES | self.norms
        if self.experts is not None:
            inside |= shared_expert_names(self.experts)
        outer = self._outer if self.shifted else None
        return Naming("model.layers.", OUTSIDE, inside, self._parts, outer)

    def _parts(self, metadata: Metadata, index: int) -> Iterator[Part]:
        if self.paired:
            yield from rotary_parts(metadata, index)
        if self.shifted:
            for stored, name in self.norms.items():
                yield Part(f"{name}.weight", (f"{stored}.weight",), Shifted())
        if self.experts is not None:
            yield from expert_parts(f"{self.experts}.experts")
            yield shared_expert_gate(self.experts)

    def _outer(self, metadata: Metadata) -> Iterator[Part]:  # noqa: ARG002
        yield Part("model.norm.weight", ("output_norm.weight",), Shifted())


def _llama(metadata: Metadata) -> dict[str, Any]:
    if not metadata.has(_FREQUENCIES):
        return {}
    keys = rotary_keys(metadata)["rope_parameters"]
    found = metadata.read(_FREQUENCIES)
    llama3 = {"factor": float(f"{max(found, default=1.0):.6g}"), **_LLAMA3}
    expected = _divided(keys["rope_theta"], len(found), llama3)
    if any(abs(own - other) > 1e-4 * other for own, other in zip(found, expected, strict=True)):
        message = f"{metadata.file}: {_FREQUENCIES} are not those of Llama 3"
        raise UnsupportedError(message, hint="use the model before it was converted")
    return {"rope_parameters": keys | llama3 | {"rope_type": "llama3"}}


def _divided(theta: float, count: int, keys: Mapping[str, float]) -> list[float]:
    """What Llama 3 divides its rotary frequencies by (`_compute_llama3_parameters`)."""
    low, high = keys["low_freq_factor"], keys["high_freq_factor"]
    found = []
    for index in range(count):
        turns = keys["original_max_position_embeddings"] / (2 * math.pi * theta ** (index / count))
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        found.append(1 / ((1 - smooth) / keys["factor"] + smooth))
    return found


def _mixtral(metadata: Metadata) -> dict[str, Any]:
    return {
        "num_local_experts": metadata.count("expert_count"),
        "num_experts_per_tok": metadata.count("expert_used_count"),
    }


def _llama_or_mixtral(metadata: Metadata) -> _LikeLlama:
    """The two have one name in GGUF."""
    if metadata.has("ffn_gate_inp.weight"):
        moe = "block_sparse_moe"
        return _LikeLlama("mixtral", _NORMS, paired=True, experts=moe, more=_mixtral)
    return _LikeLlama("llama", _NORMS, paired=True, more=_llama)


def _qwen_moe(normed: bool, metadata: Metadata) -> dict[str, Any]:
    """normed: whether a token's weights of experts sum to 1, as llama.cpp has it by family."""
    return expert_keys(metadata) | {"norm_topk_prob": normed}


def _granite(metadata: Metadata) -> dict[str, Any]:
    return {
        "embedding_multiplier": metadata.number("embedding_scale", 1.0),
        "residual_multiplier": metadata.number("residual_scale", 1.0),
        "attention_multiplier": metadata.number("attention.scale", 1.0),
        "logits_scaling": metadata.number("logit_scale", 1.0),
    }


def _window(metadata: Metadata) -> dict[str, Any]:
    window = metadata.count("attention.sliding_window", 0)
    return {"sliding_window": window} if window else {}


def _gemma2(metadata: Metadata) -> dict[str, Any]:
    return _window(metadata) | {
        "attn_logit_softcapping": metadata.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": metadata.number("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": _gemma_scalar(metadata),
    }


def _gemma_scalar(metadata: Metadata) -> int:
    """Attention is divided by its root: the head's width, but for the largest of each family.

    GGUF does not say it; llama.cpp too knows those models by their depth.
    """
    heads = max(metadata.per_block("attention.head_count"), default=1)
    largest = {("gemma2", 46), ("gemma3", 62)}
    if (metadata.architecture, metadata.blocks) in largest:
        return metadata.count("embedding_length") // max(1, heads)
    return metadata.count("attention.key_length")


def _gemma3(metadata: Metadata) -> dict[str, Any]:
    """Every sixth layer is without a window, and has the base frequency that the file names."""
    full = metadata.number("rope.freq_base", 1_000_000.0)
    scaled = rotary_keys(metadata)["rope_parameters"] | {"rope_theta": full}
    window = metadata.count("attention.sliding_window", 0)
    return _window(metadata) | {
        "query_pre_attn_scalar": _gemma_scalar(metadata),
        "layer_types": [
            "full_attention" if (i + 1) % 6 == 0 or not window else "sliding_attention"
            for i in range(metadata.blocks)
        ],
        "rope_parameters": {
            "full_attention": scaled,
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    }


def _phi3(metadata: Metadata) -> dict[str, Any]:
    keys = attention_keys(metadata)
    width = metadata.count("embedding_length") // max(1, keys["num_attention_heads"])
    del keys["attention_bias"]
    return (
        size_keys(metadata)
        | keys
        | rotary_keys(metadata, width)
        | _window(metadata)
        | {
            "model_type": "phi3",
            "intermediate_size": metadata.count("feed_forward_length"),
            "rms_norm_eps": metadata.number(RMS_EPSILON),
            "original_max_position_embeddings": metadata.count(
                "rope.scaling.original_context_length", metadata.count("context_length")
            ),
            "pad_token_id": None,
        }
    )


def _phi3_naming(_: Metadata) -> Naming:
    inside = {
        "attn_qkv": "self_attn.qkv_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_up": "mlp.gate_up_proj",
        "ffn_down": "mlp.down_proj",
        **_NORMS,
    }
    return Naming("model.layers.", OUTSIDE, inside)


def _gpt2(metadata: Metadata) -> dict[str, Any]:
    sizes = size_keys(metadata)
    return {
        "model_type": "gpt2",
        "vocab_size": sizes["vocab_size"],
        "tie_word_embeddings": sizes["tie_word_embeddings"],
        "n_embd": sizes["hidden_size"],
        "n_layer": sizes["num_hidden_layers"],
        "n_head": metadata.count("attention.head_count"),
        "n_positions": metadata.count("context_length"),
        "n_inner": metadata.count("feed_forward_length"),
        "layer_norm_epsilon": metadata.number(LAYER_EPSILON),
    }


def _gpt2_naming(_: Metadata) -> Naming:
    outside = {
        "token_embd": "transformer.wte",
        "position_embd": "transformer.wpe",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
    }
    inside = {"attn_norm": "ln_1", "ffn_norm": "ln_2", **_GPT2_MAPS}
    return Naming("transformer.h.", outside, inside, _gpt2_parts)


_GPT2_MAPS = {
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}


def _gpt2_parts(metadata: Metadata, index: int) -> Iterator[Part]:  # noqa: ARG001
    """GPT-2 has its maps the other way round, inputs by outputs."""
    for stored, name in _GPT2_MAPS.items():
        yield Part(f"{name}.weight", (f"{stored}.weight",), Transposed())


def _family(architecture: str, like: _LikeLlama) -> GGUFFamily:
    return GGUFFamily((architecture,), like.config, like.naming)


ATTENTION = (
    GGUFFamily(
        ("llama",),
        lambda metadata: _llama_or_mixtral(metadata).config(metadata),
        lambda metadata: _llama_or_mixtral(metadata).naming(metadata),
    ),
    _family("granite", _LikeLlama("granite", _NORMS, paired=True, more=_granite)),
    _family("qwen2", _LikeLlama("qwen2", _NORMS)),
    _family("qwen3", _LikeLlama("qwen3", _NORMS | _QUERY_AND_KEY_NORMS)),
    _family("olmo2", _LikeLlama("olmo2", _OUTPUT_NORMS | _QUERY_AND_KEY_NORMS)),
    _family("smollm3", _LikeLlama("smollm3", _NORMS, paired=True)),
    _family("gemma", _LikeLlama("gemma", _NORMS, shifted=True)),
    _family(
        "qwen2moe", _LikeLlama("qwen2_moe", _NORMS, experts="mlp", more=partial(_qwen_moe, False))
    ),
    _family(
        "qwen3moe",
        _LikeLlama(
            "qwen3_moe",
            _NORMS | _QUERY_AND_KEY_NORMS,
            experts="mlp",
            more=partial(_qwen_moe, True),
        ),
    ),
    _family("gemma2", _LikeLlama("gemma2", _FOUR_NORMS, shifted=True, more=_gemma2)),
    _family(
        "gemma3",
        _LikeLlama("gemma3_text", _FOUR_NORMS | _QUERY_AND_KEY_NORMS, shifted=True, more=_gemma3),
    ),
    GGUFFamily(("phi3",), _phi3, _phi3_naming),
    GGUFFamily(("gpt2",), _gpt2, _gpt2_naming),
)
