"""Gated DeltaNet and Kimi delta attention, each among softmax attention."""

import torch

from tests.families.base import Family

_DELTA_AND_ATTENTION = {"layer_types": ["linear_attention", "full_attention"]}
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 0,
}
_GATED_DELTA = _SIZES | {
    "num_key_value_heads": 1,
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 8,
}
_EXPERTS = {
    "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 8,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
_INDEXER = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
}
_LATENT_ATTENTION = {
    "num_key_value_heads": 2,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
_KIMI_DELTA = _SIZES | _LATENT_ATTENTION | {"moe_intermediate_size": 8, "num_experts_per_tok": 2}
_BAILING = (
    _KIMI_DELTA
    | _DELTA_AND_ATTENTION
    | {
        "num_local_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "head_dim": 8,
    }
)


def bounded(model):
    """Kimi Linear's forget gates between -3 and 0, as the config of its family asks."""
    gates = [module for name, module in model.named_modules() if name.endswith("forget_gate")]
    assert gates
    for gate in gates:
        gate.register_forward_hook(_bounded)


def _bounded(gate, args, _):
    rate = torch.exp(gate.A_log)  # (1, 1, H, 1)
    logits = gate.f_b_proj(gate.f_a_proj(*args)) + gate.dt_bias
    return -3.0 / (1.0 + torch.exp(-rate * logits.reshape(*logits.shape[:2], rate.shape[2], -1)))


_GATED_DELTA_KINDS = ("gated_deltanet", "softmax_attention")
_KIMI_DELTA_KINDS = ("kimi_delta", "softmax_attention")

FAMILIES = (
    Family(
        "qwen3_next",
        _GATED_DELTA_KINDS,
        _GATED_DELTA | _EXPERTS | _DELTA_AND_ATTENTION,
        tokens=70,  # more than one chunk
    ),
    Family("qwen3_5_text", _GATED_DELTA_KINDS, _GATED_DELTA | _DELTA_AND_ATTENTION),
    Family("qwen3_5_moe_text", _GATED_DELTA_KINDS, _GATED_DELTA | _EXPERTS | _DELTA_AND_ATTENTION),
    Family(
        "qwen4_exp_text",
        _GATED_DELTA_KINDS,
        _GATED_DELTA
        | _EXPERTS
        | _INDEXER
        | {
            "hc_count": 2,
            "hc_lowrank": 4,
            "layer_types": ["linear_attention", "indexed_attention"],
        },
        expected_failures={
            "memory_is_linear_in_tokens": "the model hands over its attention weights, T x T"
        },
    ),
    Family("olmo_hybrid", _GATED_DELTA_KINDS, _GATED_DELTA | _DELTA_AND_ATTENTION),
    Family(
        "olmo_hybrid",
        _GATED_DELTA_KINDS,
        _GATED_DELTA | _DELTA_AND_ATTENTION | {"linear_allow_neg_eigval": False},
        name="olmo_hybrid-positive",
    ),
    Family(
        "kimi_linear",
        _KIMI_DELTA_KINDS,
        _KIMI_DELTA
        | _DELTA_AND_ATTENTION
        | {"num_local_experts": 4, "linear_num_heads": 4, "linear_head_dim": 8},
        tokens=70,  # more than one chunk
    ),
    Family(
        "kimi_linear",
        _KIMI_DELTA_KINDS,
        _KIMI_DELTA
        | _DELTA_AND_ATTENTION
        | {
            "num_local_experts": 4,
            "linear_attn_config": {"num_heads": 4, "head_dim": 8, "gate_lower_bound": -3.0},
        },
        name="kimi_linear-bounded",
        published=bounded,
    ),
    Family(
        "glm5_next_text",
        _KIMI_DELTA_KINDS,
        _KIMI_DELTA
        | {
            "n_routed_experts": 4,
            "linear_num_heads": 4,
            "linear_head_dim": 8,
            "q_lora_rank": 8,
            "qk_rope_head_dim": 0,
            "index_topk": 8,
            "index_head_dim": 8,
            "index_n_heads": 2,
            "index_kpool": 4,
            "hc_mult": 2,
            "layer_types": ["linear_attention", "indexed_attention"],
            "mlp_layer_types": ["dense", "sparse"],
        },
        expected_failures={
            "memory_is_linear_in_tokens": "which tokens its indexer chose is a mask of T x T"
        },
    ),
    Family("bailing_hybrid", _KIMI_DELTA_KINDS, _BAILING),
    Family(
        "bailing_hybrid",
        _KIMI_DELTA_KINDS,
        _BAILING | {"kda_safe_gate": False},
        name="bailing_hybrid-unbounded",
    ),
)
