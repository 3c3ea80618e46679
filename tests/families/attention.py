"""Softmax attention: one layer per block."""

from spectrakit.architectures.transformers_config_keys import keys_of
from tests.families.base import Family

_SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
_HEADS = {**_SIZES, "num_attention_heads": 4}
_GROUPED = {**_HEADS, "num_key_value_heads": 2}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
_LATENT = {
    **_HEADS,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


#: Those that need nothing but sizes, and of which none is like another inside.
_PLAIN = (
    "apertus", "arcee", "bitnet", "cwm", "ernie4_5", "glm", "glm4", "helium", "hunyuan_v1_dense",
    "jais2", "ministral", "ministral3", "nanochat", "persimmon", "seed_oss",
    "vaultgemma",
)  # fmt: skip
_PLAIN_EXPERTS = (
    "afmoe", "ernie4_5_moe", "exaone_moe", "flex_olmo", "glm4_moe", "granitemoe",
    "granitemoeshared", "hunyuan_v1_moe", "laguna", "minimax_m2", "olmoe", "phimoe", "solar_open",
)  # fmt: skip


#: The forward pass of these builds all scores itself, and the read-out is read from them.
_OWN_SCORES = (
    "bloom", "codegen", "falcon-alibi", "gpt_neo", "gpt_neox_japanese", "gptj", "mpt", "openai-gpt",
    "xglm",
)  # fmt: skip
_QUADRATIC = {"memory_is_linear_in_tokens": "the model hands over its scores, T x T"}
_FLOOR = {
    "padding_is_masked": "its mask is a finite score, whose inverse normaliser is infinite where "
    "padding reads nothing but padding"
}


#: What the number of experts and of their groups is called; a config has those of its class.
_EXPERTS_BY_ANY_NAME = _EXPERTS | {
    "num_local_experts": 4, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
}  # fmt: skip


def _experts(model_type: str) -> dict:
    taken = keys_of(model_type)
    return {key: value for key, value in _EXPERTS_BY_ANY_NAME.items() if key in taken}


def _family(model_type: str, config: dict, name: str = "") -> Family:
    case = name or model_type
    expected = _QUADRATIC if case in _OWN_SCORES else {}
    if case in ("codegen", "openai-gpt"):
        expected = expected | _FLOOR
    kinds = ("softmax_attention",) * 2
    return Family(model_type, kinds, config, name=name, expected_failures=expected)


FAMILIES = (
    _family("gpt2", _GPT),
    _family("gpt_bigcode", _GPT),
    _family("gpt_neox", _HEADS),
    _family("llama", _GROUPED),
    _family("mistral", {**_GROUPED, "sliding_window": 5}),
    _family("qwen2", _GROUPED),
    _family("qwen3", {**_GROUPED, "head_dim": 8}),
    _family("gemma", {**_GROUPED, "head_dim": 8}),
    _family("gemma2", {**_GROUPED, "head_dim": 8, "sliding_window": 6,
                       "attn_logit_softcapping": 2.0}),
    _family("gemma3_text", {**_GROUPED, "head_dim": 8, "sliding_window": 6}),
    _family("gpt_oss", {**_GROUPED, "head_dim": 8, "sliding_window": 6,
                        "num_local_experts": 4, "num_experts_per_tok": 2}),
    _family("phi", _GROUPED),
    _family("phi3", {**_GROUPED, "pad_token_id": 0, "sliding_window": 7}),
    _family("olmo", _GROUPED),
    _family("olmo2", _GROUPED),
    _family("olmo3", {**_GROUPED, "sliding_window": 6}),
    _family("opt", {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2,
                    "num_attention_heads": 4, "word_embed_proj_dim": 32,
                    "max_position_embeddings": 64}),
    _family("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    _family("falcon", {**_HEADS, "multi_query": True, "alibi": False,
                       "new_decoder_architecture": False}),
    _family("falcon", {**_HEADS, "alibi": True, "multi_query": False,
                       "new_decoder_architecture": False}, name="falcon-alibi"),
    _family("falcon", {**_HEADS, "num_kv_heads": 2, "new_decoder_architecture": True},
            name="falcon-grouped"),
    _family("gptj", {**_GPT, "rotary_dim": 4}),
    _family("codegen", {**_GPT, "rotary_dim": 4}),
    _family("gpt_neo", {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 5,
                        "attention_types": [[["global", "local"], 1]]}),
    _family("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4}),
    _family("xglm", {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48}),
    _family("deepseek_v2", {**_LATENT, "n_routed_experts": 4, "num_experts_per_tok": 2,
                            "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16}),
    _family("deepseek_v3", {**_LATENT, "n_routed_experts": 4, "num_experts_per_tok": 2,
                            "n_group": 2, "topk_group": 1, "moe_intermediate_size": 16,
                            "first_k_dense_replace": 1}),
    _family("mixtral", {**_GROUPED, "num_local_experts": 4}),
    _family("qwen2_moe", {**_GROUPED, **_EXPERTS, "shared_expert_intermediate_size": 16}),
    _family("qwen3_moe", {**_GROUPED, **_EXPERTS, "head_dim": 8}),
    _family("granite", {**_GROUPED, "attention_multiplier": 0.2}),
    _family("cohere", _GROUPED),
    _family("cohere2", {**_GROUPED, "sliding_window": 6}),
    _family("smollm3", {**_GROUPED, "pad_token_id": 0}),
    _family("stablelm", _GROUPED),
    _family("starcoder2", _GROUPED),
    _family("exaone4", {**_GROUPED, "sliding_window": 6}),
    _family("nemotron", _GROUPED),
    _family("biogpt", _HEADS),
    _family("ctrl", _GPT),
    _family("openai-gpt", _GPT),
    _family("gpt_neox_japanese", {**_SIZES, "num_attention_heads": 4}),
    _family(
        "gemma4_text",
        {**_GROUPED, "head_dim": 8, "pad_token_id": 0, "sliding_window": 6,
         # Its second embedding has a quarter of a million rows unless told otherwise.
         "vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8},
    ),
    *(_family(model_type, {**_GROUPED, "head_dim": 8, "pad_token_id": 0, "sliding_window": 6})
      for model_type in _PLAIN),
    *(_family(model_type, {**_GROUPED, **_experts(model_type), "head_dim": 8, "pad_token_id": 0,
                           "sliding_window": 6})
      for model_type in _PLAIN_EXPERTS),
)  # fmt: skip
