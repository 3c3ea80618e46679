"""Gated DeltaNet of Qwen3-Next and Qwen3.5, Kimi delta attention; each among softmax attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.gguf.families.common import (
    ATTENTION_NAMES,
    GATED_MLP_NAMES,
    OUTSIDE,
    RMS_EPSILON,
    attention_keys,
    expert_keys,
    expert_parts,
    layer_types,
    rotary_keys,
    shared_expert_gate,
    shared_expert_names,
    size_keys,
)
from spectrakit.checkpoints.gguf.naming import GGUFFamily, Naming, Part
from spectrakit.checkpoints.turns import (
    Depthwise,
    LogOfNegative,
    Shifted,
    Then,
)
from spectrakit.checkpoints.value_heads import ByKeyHead, KeysAndValues, Untiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectrakit.checkpoints.gguf.metadata import Metadata
    from spectrakit.checkpoints.turns import Turn

_LINEAR, _FULL = "linear_attention", "full_attention"


def _qwen(metadata: Metadata, model_type: str) -> dict[str, Any]:
    value_heads, inner = metadata.count("ssm.time_step_rank"), metadata.count("ssm.inner_size")
    if not value_heads or inner % value_heads:
        raise metadata.malformed("ssm.time_step_rank", value_heads)
    keys = attention_keys(metadata)
    found = (
        size_keys(metadata)
        | keys
        | rotary_keys(metadata, keys.get("head_dim"))
        | {
            "model_type": model_type,
            "rms_norm_eps": metadata.number(RMS_EPSILON),
            "layer_types": layer_types(metadata, _LINEAR, _FULL),
            "linear_conv_kernel_dim": metadata.count("ssm.conv_kernel"),
            "linear_key_head_dim": metadata.count("ssm.state_size"),
            "linear_num_key_heads": metadata.count("ssm.group_count"),
            "linear_num_value_heads": value_heads,
            "linear_value_head_dim": inner // value_heads,
        }
    )
    if metadata.has("ffn_up.weight"):
        found["intermediate_size"] = metadata.count("feed_forward_length")
    return found | (expert_keys(metadata) if metadata.has("ffn_up_exps.weight") else {})


def _qwen_type(metadata: Metadata) -> str:
    architecture = metadata.architecture
    types = {"qwen35": "qwen3_5_text", "qwen35moe": "qwen3_5_moe_text"}
    return types.get(architecture, "qwen3_next")


def _qwen_naming(metadata: Metadata) -> Naming:
    inside = {
        "ssm_ba": "linear_attn.in_proj_ba",
        "ssm_out": "linear_attn.out_proj",
        "ssm_norm": "linear_attn.norm",
        **shared_expert_names("mlp"),
        **ATTENTION_NAMES,
        **GATED_MLP_NAMES,
    }
    own = _next_parts if metadata.architecture == "qwen3next" else _qwen35_parts
    return Naming("model.layers.", OUTSIDE, inside, own, _final_norm)


def _final_norm(metadata: Metadata) -> Iterator[Part]:  # noqa: ARG001
    yield Part("model.norm.weight", ("output_norm.weight",), Shifted())


def _qwen_parts() -> Iterator[Part]:
    norms = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
    }
    for stored, name in norms.items():
        yield Part(f"{name}.weight", (f"{stored}.weight",), Shifted())
    yield shared_expert_gate("mlp")
    yield from expert_parts("mlp.experts")


def _next_parts(metadata: Metadata, index: int) -> Iterator[Part]:  # noqa: ARG001
    yield from _qwen_parts()
    yield Part("linear_attn.A_log", ("ssm_a",), LogOfNegative())
    yield Part("linear_attn.dt_bias", ("ssm_dt.bias",))
    yield Part("linear_attn.conv1d.weight", ("ssm_conv1d.weight",), Depthwise())
    fused = ("attn_qkv.weight", "attn_gate.weight")
    yield Part("linear_attn.in_proj_qkvz.weight", fused, ByKeyHead(*_heads(metadata)))
    # Of models that were converted before the two were taken apart.
    yield Part("linear_attn.in_proj_qkvz.weight", ("ssm_in.weight",))


def _heads(metadata: Metadata) -> tuple[int, int, int]:
    """Key heads, their width, and the channels of values by key head."""
    key_heads = metadata.count("ssm.group_count")
    inner = metadata.count("ssm.inner_size")
    if not key_heads or inner % key_heads:
        raise metadata.malformed("ssm.group_count", key_heads)
    return key_heads, metadata.count("ssm.state_size"), inner // key_heads


def _qwen35_parts(metadata: Metadata, index: int) -> Iterator[Part]:  # noqa: ARG001
    """Value heads are tiled over the key heads in GGUF, and grouped by them in transformers."""
    yield from _qwen_parts()
    key_heads, key_width, values = _heads(metadata)
    heads = metadata.count("ssm.time_step_rank")
    if not heads or heads % key_heads:
        raise metadata.malformed("ssm.time_step_rank", heads)
    width = values * key_heads // heads
    before = 2 * key_heads * key_width

    def untiled(size: int, axis: int = 0, first: int = 0) -> Turn:
        return Untiled(key_heads, heads // key_heads, size, axis, first)

    path = "linear_attn"
    yield Part(f"{path}.A_log", ("ssm_a",), Then((LogOfNegative((-1,)), untiled(1))))
    yield Part(f"{path}.dt_bias", ("ssm_dt.bias",), untiled(1))
    kernel = Then((Depthwise(), untiled(width, first=before)))
    yield Part(f"{path}.conv1d.weight", ("ssm_conv1d.weight",), kernel)
    yield Part(f"{path}.in_proj_qkv.weight", ("attn_qkv.weight",), untiled(width, first=before))
    yield Part(f"{path}.in_proj_z.weight", ("attn_gate.weight",), untiled(width))
    yield Part(f"{path}.in_proj_a.weight", ("ssm_alpha.weight",), untiled(1))
    yield Part(f"{path}.in_proj_b.weight", ("ssm_beta.weight",), untiled(1))
    yield Part(f"{path}.out_proj.weight", ("ssm_out.weight",), untiled(width, axis=1))


def _kimi(metadata: Metadata) -> dict[str, Any]:
    key_width = metadata.count("attention.key_length_mla")
    rotary = metadata.count("rope.dimension_count")
    dense = metadata.count("leading_dense_block_count", 0)
    heads = max(metadata.per_block("attention.head_count"), default=0)
    return size_keys(metadata) | {
        "model_type": "kimi_linear",
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": max(metadata.per_block("feed_forward_length"), default=0),
        "moe_intermediate_size": metadata.count("expert_feed_forward_length"),
        "n_shared_experts": metadata.count("expert_shared_count", 1),
        "routed_scaling_factor": metadata.number("expert_weights_scale", 1.0),
        "kv_lora_rank": metadata.count("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotary,
        "qk_nope_head_dim": key_width - rotary,
        "v_head_dim": metadata.count("attention.value_length_mla"),
        "num_local_experts": metadata.count("expert_count"),
        "num_experts_per_tok": metadata.count("expert_used_count"),
        "rms_norm_eps": metadata.number(RMS_EPSILON),
        "max_position_embeddings": metadata.count("context_length"),
        "layer_types": layer_types(metadata, _LINEAR, _FULL),
        "mlp_layer_types": ["dense" if i < dense else "sparse" for i in range(metadata.blocks)],
        "linear_num_heads": _kda_heads(metadata),
        "linear_head_dim": metadata.count("kda.head_dim"),
        "linear_conv_kernel_dim": metadata.count("ssm.conv_kernel"),
    }


def _kda_heads(metadata: Metadata) -> int:
    """Of Kimi delta attention, by its steps: one for every channel of the keys."""
    width = metadata.count("kda.head_dim")
    shapes = [shape for name, shape in metadata.shapes.items() if name.endswith(".ssm_dt.bias")]
    if not width or (shapes and math.prod(shapes[0]) % width):
        raise metadata.malformed("kda.head_dim", width)
    return math.prod(shapes[0]) // width if shapes else 0


def _kimi_naming(_: Metadata) -> Naming:
    inside = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "ssm_f_a": "self_attn.f_a_proj",
        "ssm_f_b": "self_attn.f_b_proj",
        "ssm_g_a": "self_attn.g_a_proj",
        "ssm_g_b": "self_attn.g_b_proj",
        "ssm_beta": "self_attn.b_proj",
        "ssm_norm": "self_attn.o_norm",
        "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
        "attn_kv_a_norm": "self_attn.kv_a_layernorm",
        "attn_kv_b": "self_attn.kv_b_proj",
        "ffn_gate": "block_sparse_moe.gate_proj",
        "ffn_up": "block_sparse_moe.up_proj",
        "ffn_down": "block_sparse_moe.down_proj",
        "ffn_gate_inp": "block_sparse_moe.gate",
        "ffn_gate_shexp": "block_sparse_moe.shared_experts.gate_proj",
        "ffn_up_shexp": "block_sparse_moe.shared_experts.up_proj",
        "ffn_down_shexp": "block_sparse_moe.shared_experts.down_proj",
        **ATTENTION_NAMES,
    }
    return Naming("model.layers.", OUTSIDE, inside, _kimi_parts)


def _kimi_parts(metadata: Metadata, index: int) -> Iterator[Part]:  # noqa: ARG001
    path = "self_attn"
    yield Part(f"{path}.A_log", ("ssm_a",), LogOfNegative((1, 1, -1, 1)))
    yield Part(f"{path}.dt_bias", ("ssm_dt.bias",))
    for letter in "qkv":
        kernel = (f"ssm_conv1d_{letter}.weight",)
        yield Part(f"{path}.{letter}_conv1d.weight", kernel, Depthwise())
    halves = ("attn_k_b.weight", "attn_v_b.weight")
    yield Part(f"{path}.kv_b_proj.weight", halves, KeysAndValues())
    yield Part("block_sparse_moe.gate.e_score_correction_bias", ("exp_probs_b.bias",))
    yield from expert_parts("block_sparse_moe.experts")


DELTA = (
    GGUFFamily(
        ("qwen3next", "qwen35", "qwen35moe"),
        lambda metadata: _qwen(metadata, _qwen_type(metadata)),
        _qwen_naming,
    ),
    GGUFFamily(("kimi-linear",), _kimi, _kimi_naming),
)
