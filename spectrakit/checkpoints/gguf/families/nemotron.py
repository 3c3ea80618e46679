"""Nemotron-H: Mamba-2, softmax attention, and experts or a plain part, each a block of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.gguf.families.common import (
    RMS_EPSILON,
    attention_keys,
    mamba2_keys,
    mamba2_parts,
    mamba_names,
    rotary_parts,
    size_keys,
)
from spectrakit.checkpoints.gguf.naming import GGUFFamily, Naming, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectrakit.checkpoints.gguf.metadata import Metadata

_KINDS = {
    "ssm_a": "mamba",
    "attn_q.weight": "attention",
    "ffn_gate_inp.weight": "moe",
}


def _config(metadata: Metadata) -> dict[str, Any]:
    keys = mamba2_keys(metadata)
    kinds = [
        next(
            (kind for name, kind in _KINDS.items() if metadata.in_block(index, name)),
            "mlp",
        )
        for index in range(metadata.blocks)
    ]
    found = (
        size_keys(metadata)
        | attention_keys(metadata)
        | {
            "model_type": "nemotron_h",
            "layers_block_type": kinds,
            "intermediate_size": max(metadata.per_block("feed_forward_length"), default=0),
            "layer_norm_epsilon": metadata.number(RMS_EPSILON),
            "max_position_embeddings": metadata.count("context_length"),
            "ssm_state_size": keys["mamba_d_state"],
            "mamba_num_heads": keys["mamba_n_heads"],
            "mamba_head_dim": keys["mamba_d_head"],
            "n_groups": keys["mamba_n_groups"],
            "conv_kernel": keys["mamba_d_conv"],
            "use_conv_bias": keys["mamba_conv_bias"],
            "mamba_proj_bias": keys["mamba_proj_bias"],
            "mlp_bias": metadata.has("ffn_down.bias"),
        }
    )
    return found | (_experts(metadata) if "moe" in kinds else {})


def _experts(metadata: Metadata) -> dict[str, Any]:
    return {
        "n_routed_experts": metadata.count("expert_count"),
        "n_shared_experts": metadata.count("expert_shared_count", 1),
        "num_experts_per_tok": metadata.count("expert_used_count"),
        "moe_intermediate_size": metadata.count("expert_feed_forward_length"),
        "moe_shared_expert_intermediate_size": metadata.count("expert_shared_feed_forward_length"),
        "norm_topk_prob": metadata.flag("expert_weights_norm"),
        "routed_scaling_factor": metadata.number("expert_weights_scale", 1.0),
        "n_group": metadata.count("expert_group_count", 1),
    }


def _naming(_: Metadata) -> Naming:
    inside = {
        "attn_norm": "norm",
        "attn_q": "mixer.q_proj",
        "attn_k": "mixer.k_proj",
        "attn_v": "mixer.v_proj",
        "attn_output": "mixer.o_proj",
        "ffn_up": "mixer.up_proj",
        "ffn_down": "mixer.down_proj",
        "ffn_gate_inp": "mixer.gate",
        "ffn_up_shexp": "mixer.shared_experts.up_proj",
        "ffn_down_shexp": "mixer.shared_experts.down_proj",
        **mamba_names("mixer"),
    }
    outside = {
        "token_embd": "backbone.embeddings",
        "output_norm": "backbone.norm_f",
        "output": "lm_head",
    }
    return Naming("backbone.layers.", outside, inside, _parts)


def _parts(metadata: Metadata, index: int) -> Iterator[Part]:
    yield from mamba2_parts("mixer")
    yield from rotary_parts(metadata, index, "mixer")  # though nothing turns them
    yield Part("mixer.gate.e_score_correction_bias", ("exp_probs_b.bias",))
    yield Part("mixer.experts.up_proj", ("ffn_up_exps.weight",))
    yield Part("mixer.experts.down_proj", ("ffn_down_exps.weight",))


NEMOTRON = GGUFFamily(("nemotron_h", "nemotron_h_moe"), _config, _naming)
