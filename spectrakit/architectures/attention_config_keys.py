"""Keys of published configs of attention that transformers' classes do not take, by `model_type`.

What they say is what transformers computes anyway, at the values that are published; at any other
value they are named to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectrakit.architectures.config_keys import ConfigKeys, words


def _keys(irrelevant: str = "", *, left: str = "", **fixed: object) -> ConfigKeys:
    return ConfigKeys(left=words(left), irrelevant=words(irrelevant), fixed=fixed)


#: How experts are balanced in training, and on how many devices.
_BALANCE = "aux_loss_alpha ep_size load_balance_coeff moe_capacity seq_aux use_grouped_mm"
_HUNYUAN = _keys(
    """
    add_classification_head attention_head_dim cla_share_factor class_num dense_list
    enable_lm_head_fp32 eod_token_id im_end_id im_newline_id im_start_id mask_init_id
    org_vocab_size pool_type sep_token_id text_end_id text_start_id
    """,
    left="rope_scaling.alpha rope_parameters.alpha",
    norm_type="rms",
    use_cla=False,
    use_qk_norm=True,
    use_rotary_pos_emb=True,
)

_OF_TYPES: Mapping[str, ConfigKeys] = {
    "afmoe": _keys(
        _BALANCE, n_group=1, num_expert_groups=1, num_limited_groups=1, route_norm=True,
        score_func="sigmoid", topk_group=1,
    ),
    "apertus": _keys(qk_norm=True),
    "codegen": _keys(scale_attn_weights=True),
    "cohere2": _keys(
        order_of_interleaved_layers="local_attn_first", position_embedding_type="rope_gptj",
        use_embedding_sharing=True, use_gated_activation=True, use_parallel_block=True,
        use_parallel_embedding=True,
    ),
    "deepseek_v2": _keys(_BALANCE, moe_layer_freq=1, scoring_func="softmax"),
    "deepseek_v3": _keys(
        _BALANCE, moe_layer_freq=1, scoring_func="sigmoid", topk_method="noaux_tc"
    ),
    "ernie4_5_moe": _keys(_BALANCE, moe_gate="topk", moe_use_aux_free=True),
    "falcon": _keys("n_embed n_head"),  # beside the newer names
    "gpt_bigcode": _keys(
        """
        inference_runner max_batch_size max_sequence_length pad_key_length pre_allocate_kv_cache
        validate_runner_input
        """
    ),
    "gpt_oss": _keys("experts_per_token initial_context_length"),  # the same as newer names say
    "gptj": _keys(scale_attn_weights=True),
    "hunyuan_v1_dense": _HUNYUAN,
    "hunyuan_v1_moe": _HUNYUAN,
    "llama": _keys("is_llama_config max_sequence_length"),
    "minimax_m2": _keys(
        "max_model_len mlp_intermediate_size mtp_transformer_layers num_mtp_modules use_mtp",
        attn_type_list=1, layernorm_full_attention_beta=1.0, layernorm_linear_attention_beta=1.0,
        layernorm_mlp_beta=1.0, qk_norm_type="per_layer", scoring_func="sigmoid",
        shared_intermediate_size=0, swa_rope_theta=-1.0, use_qk_norm=True, use_routing_bias=True,
    ),
    "opt": _keys("activation_dropout"),
    "phi3": _keys(full_attn_mod=1, interpolate_factor=1),
    "qwen3_moe": _keys("max_window_layers"),
    "smollm3": _keys("max_window_layers"),
    "stablelm": _keys(rotary_scaling_factor=1.0),
    "starcoder2": _keys(
        # the older name of norm_epsilon among them, and the activation of no part of the model
        "activation_function layer_norm_epsilon scale_attention_softmax_in_fp32",
        mlp_type="default", norm_type="layer_norm", scale_attn_weights=True,
    ),
}  # fmt: skip


def published_keys(config: Mapping[str, Any]) -> ConfigKeys:
    """What is known of the keys of this config besides what transformers' class takes."""
    return _OF_TYPES.get(str(config.get("model_type")), ConfigKeys())
