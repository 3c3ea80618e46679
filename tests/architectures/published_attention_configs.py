"""As `published_configs`: softmax attention, with keys that transformers' classes do not take."""

from tests.architectures.published_configs import LLAMA, SAVED

_EXPERTS = {"num_experts_per_tok": 8, "output_router_logits": False, "router_aux_loss_coef": 0.001}
_YARN = {"beta_fast": 32, "beta_slow": 1, "factor": 40, "original_max_position_embeddings": 4096}
_LATENT = LLAMA | {
    "aux_loss_alpha": 0.001, "first_k_dense_replace": 1, "kv_lora_rank": 512,
    "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64,
    "n_shared_experts": 2, "norm_topk_prob": False, "num_experts_per_tok": 6, "q_lora_rank": None,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "routed_scaling_factor": 1.0,
    "rope_scaling": _YARN | {"mscale": 0.707, "mscale_all_dim": 0.707, "type": "yarn"},
    "seq_aux": True, "topk_group": 1, "v_head_dim": 128,
}  # fmt: skip
_LAYER_NORM = SAVED | {
    "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 32,
    "num_hidden_layers": 2, "num_key_value_heads": 8, "max_position_embeddings": 4096,
}  # fmt: skip

ATTENTION_CONFIGS = {
    "mistralai/Mixtral-8x7B-v0.1": LLAMA | _EXPERTS | {
        "model_type": "mixtral", "num_local_experts": 8, "sliding_window": None,
    },
    "Qwen/Qwen3-30B-A3B": LLAMA | _EXPERTS | {
        "model_type": "qwen3_moe", "decoder_sparse_step": 1, "max_window_layers": 48,
        "mlp_only_layers": [], "moe_intermediate_size": 768, "norm_topk_prob": True,
        "num_experts": 128, "sliding_window": None, "use_sliding_window": False,
    },
    "deepseek-ai/DeepSeek-V2-Lite": _LATENT | {
        "model_type": "deepseek_v2", "scoring_func": "softmax", "topk_method": "greedy",
    },
    "deepseek-ai/DeepSeek-V3": _LATENT | {
        "model_type": "deepseek_v3", "ep_size": 1, "num_nextn_predict_layers": 1,
        "quantization_config": {"quant_method": "fp8"}, "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
    },
    "openai/gpt-oss-20b": LLAMA | _EXPERTS | {
        "model_type": "gpt_oss", "experts_per_token": 4, "initial_context_length": 4096,
        "layer_types": ["sliding_attention", "full_attention"], "num_local_experts": 32,
        "rope_scaling": _YARN | {"rope_type": "yarn", "truncate": False}, "sliding_window": 128,
        "swiglu_limit": 7.0,
    },
    "MiniMaxAI/MiniMax-M2": LLAMA | _EXPERTS | {
        "model_type": "minimax_m2", "attn_type_list": [1, 1], "layernorm_full_attention_beta": 1.0,
        "layernorm_linear_attention_beta": 1.0, "layernorm_mlp_beta": 1.0,
        "mlp_intermediate_size": 8192, "mtp_transformer_layers": 1, "num_local_experts": 256,
        "num_mtp_modules": 3, "qk_norm_type": "per_layer", "rotary_dim": 64, "scoring_func":
        "sigmoid", "shared_intermediate_size": 0, "swa_rope_theta": -1.0, "use_mtp": True,
        "use_qk_norm": True, "use_routing_bias": True,
    },
    "zai-org/GLM-4.5-Air": LLAMA | {
        "model_type": "glm4_moe", "first_k_dense_replace": 1, "moe_intermediate_size": 1408,
        "n_group": 1, "n_routed_experts": 128, "n_shared_experts": 1, "norm_topk_prob": True,
        "num_experts_per_tok": 8, "num_nextn_predict_layers": 1, "partial_rotary_factor": 0.5,
        "routed_scaling_factor": 1.0, "topk_group": 1, "use_qk_norm": False,
    },
    "microsoft/Phi-4-mini-instruct": LLAMA | {
        "model_type": "phi3", "embd_pdrop": 0.0, "full_attn_mod": 1, "interpolate_factor": 1,
        "lm_head_bias": False, "original_max_position_embeddings": 4096, "resid_pdrop": 0.0,
        "partial_rotary_factor": 0.75, "sliding_window": 262144,
        "rope_scaling": {"long_factor": [1.0], "short_factor": [1.0], "type": "longrope"},
    },
    "HuggingFaceTB/SmolLM2-135M": LLAMA | {
        "model_type": "llama", "is_llama_config": True, "rope_interleaved": False,
        "rope_scaling": None,
    },
    "HuggingFaceTB/SmolLM3-3B": LLAMA | {
        "model_type": "smollm3", "layer_types": ["full_attention"] * 2, "max_window_layers": 28,
        "no_rope_layer_interval": 4, "no_rope_layers": [1, 1], "rope_scaling": None,
        "sliding_window": None, "use_sliding_window": False,
    },
    "allenai/OLMo-2-1124-7B": LLAMA | {"model_type": "olmo2", "rope_scaling": None},
    "google/gemma-3-4b-it": {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999,
        "eoi_token_index": 256000, "eos_token_id": [1, 106], "image_token_index": 262144,
        "initializer_range": 0.02, "mm_tokens_per_image": 256, "model_type": "gemma3",
        "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type":
                        "gemma3_text", "num_hidden_layers": 34, "sliding_window": 1024,
                        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}},
        "torch_dtype": "bfloat16", "vision_config": {"hidden_size": 1152},
    },
    "bigcode/starcoder2-3b": _LAYER_NORM | {
        "model_type": "starcoder2", "activation_function": "gelu", "attention_softmax_in_fp32":
        True, "embedding_dropout": 0.1, "hidden_act": "gelu_pytorch_tanh", "layer_norm_epsilon":
        1e-5, "mlp_type": "default", "norm_epsilon": 1e-5, "norm_type": "layer_norm",
        "residual_dropout": 0.1, "rope_theta": 999999.4, "scale_attention_softmax_in_fp32": True,
        "scale_attn_weights": True, "sliding_window": 4096, "use_bias": True,
    },
    "CohereForAI/c4ai-command-r7b-12-2024": _LAYER_NORM | {
        "model_type": "cohere2", "cache_implementation": "hybrid", "head_dim": 128, "hidden_act":
        "silu", "layer_norm_eps": 1e-5, "logit_scale": 0.25,
        "order_of_interleaved_layers": "local_attn_first",
        "position_embedding_type": "rope_gptj", "rope_theta": 50000, "rotary_pct": 1.0,
        "sliding_window": 4096, "sliding_window_pattern": 4, "use_embedding_sharing": True,
        "use_gated_activation": True, "use_parallel_block": True, "use_parallel_embedding": True,
    },
    "tencent/Hunyuan-0.5B-Instruct": LLAMA | {
        "model_type": "hunyuan_v1_dense", "attention_head_dim": 128, "cla_share_factor": 2,
        "class_num": 0, "dense_list": [2048, 0], "im_end_id": 5, "im_start_id": 4, "mask_init_id":
        12, "norm_type": "rms", "org_vocab_size": 128256, "pool_type": "last", "use_cla": False,
        "rope_scaling": {"alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0,
                         "mscale": 1.0, "mscale_all_dim": 0.0, "type": "dynamic"},
        "text_end_id": 7, "text_start_id": 6, "use_qk_norm": True, "use_rotary_pos_emb": True,
    },
    "facebook/opt-125m": SAVED | {
        "model_type": "opt", "_remove_final_layer_norm": False, "activation_dropout": 0.1,
        "activation_function": "relu", "do_layer_norm_before": True, "ffn_dim": 3072,
        "hidden_size": 768, "layerdrop": 0.1, "max_position_embeddings": 2048,
        "num_attention_heads": 12, "num_hidden_layers": 12, "prefix": "</s>",
        "word_embed_proj_dim": 768,
    },
    "EleutherAI/gpt-j-6b": SAVED | {
        "model_type": "gptj", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
        "n_embd": 4096, "n_head": 16, "n_inner": None, "n_layer": 28, "n_positions": 2048,
        "rotary": True, "rotary_dim": 64, "scale_attn_weights": True,
        "tokenizer_class": "GPT2Tokenizer",
    },
}  # fmt: skip
