"""Hybrids of Mamba and Mamba-2 with softmax attention."""

from tests.families.base import Family

_ATTENTION = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
_GROUPED_ATTENTION = {**_ATTENTION, "num_key_value_heads": 2}
_MAMBA2 = {"mamba_d_state": 4, "mamba_n_heads": 8, "mamba_n_groups": 2, "mamba_chunk_size": 8}
_NEMOTRON = {
    **_GROUPED_ATTENTION,
    "head_dim": 8,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 16,
    "n_routed_experts": 2,
    "ssm_state_size": 4,
    "mamba_num_heads": 4,
    "mamba_head_dim": 8,
    "n_groups": 2,
    "chunk_size": 8,
}


#: Steps of Zamba-2 and Nemotron-H that many of their tokens are clamped to, at either end.
LIMIT = (0.02, 0.04)


def clamped(model):
    """The steps of Zamba-2 and Nemotron-H as their configs limit them here."""
    mixers = [module for module in model.modules() if hasattr(module, "time_step_limit")]
    assert mixers
    for mixer in mixers:
        mixer.time_step_limit = LIMIT


FAMILIES = (
    Family(
        "jamba",
        ("mamba", "softmax_attention", "mamba", "mamba"),
        {
            **_GROUPED_ATTENTION,
            "num_hidden_layers": 4,
            "attn_layer_period": 3,
            "attn_layer_offset": 1,
            "num_experts": 2,
            "mamba_d_state": 4,
        },
    ),
    Family(
        "zamba",
        ("mamba", "mamba", "softmax_attention", "mamba", "mamba", "softmax_attention", "mamba"),
        {
            **_ATTENTION,
            "num_key_value_heads": 4,
            "num_hidden_layers": 5,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 4,
            "n_mamba_heads": 2,
        },
    ),
    Family(
        "zamba2",
        ("mamba2", *("softmax_attention", "mamba2") * 2, "mamba2", "softmax_attention", "mamba2"),
        {
            **_ATTENTION,
            "num_hidden_layers": 5,
            "layers_block_type": ["mamba", "hybrid", "hybrid", "mamba", "hybrid"],
            "mamba_d_state": 4,
            "n_mamba_heads": 8,
            "mamba_ngroups": 2,
            "chunk_size": 8,
            "num_mem_blocks": 2,
            "use_shared_attention_adapter": True,
            "adapter_rank": 4,
            "use_mem_rope": True,
            "time_step_limit": [*LIMIT],
        },
        published=clamped,
    ),
    Family(
        "bamba",
        ("mamba2", "softmax_attention", "mamba2"),
        {
            **_GROUPED_ATTENTION,
            **_MAMBA2,
            "num_hidden_layers": 3,
            "attn_layer_indices": [1],
            "time_step_limit": [0.4, 0.8],
        },
    ),
    Family(
        "granitemoehybrid",
        ("mamba2", "softmax_attention", "mamba2"),
        {
            **_GROUPED_ATTENTION,
            **_MAMBA2,
            "num_hidden_layers": 3,
            "layer_types": ["mamba", "attention", "mamba"],
            "num_local_experts": 2,
            "shared_intermediate_size": 16,
        },
    ),
    Family(
        "falcon_h1",
        ("mamba2", "softmax_attention") * 2,
        {
            **_GROUPED_ATTENTION,
            **_MAMBA2,
            "num_hidden_layers": 2,
            "mamba_d_ssm": 48,
            "ssm_in_multiplier": 1.25,
            "ssm_multipliers": [0.5, 0.7, 1.5, 2.0, 0.3],
            "key_multiplier": 0.6,
        },
    ),
    Family(
        "falcon_h1",
        ("mamba2", "softmax_attention"),
        {
            **_GROUPED_ATTENTION,
            **_MAMBA2,
            "num_hidden_layers": 1,
            "mamba_d_ssm": None,
            "mamba_rms_norm": True,
            "projectors_bias": True,
        },
        name="falcon_h1-normed",
    ),
    Family(
        "nemotron_h",
        ("mamba2", "softmax_attention", "mamba2"),
        {**_NEMOTRON, "hybrid_override_pattern": "M*-ME", "time_step_limit": [*LIMIT]},
        published=clamped,
    ),
)
