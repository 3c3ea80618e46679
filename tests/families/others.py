"""RecurrentGemma, RWKV-4, xLSTM, MiniMax and LFM."""

from tests.families.base import Family

_ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2}
_EXPERTS = {"num_experts_per_tok": 1}
_XLSTM = {
    "hidden_size": 64,
    "num_heads": 2,
    "num_blocks": 2,
    "num_hidden_layers": 2,
    "chunk_size": 16,
}

_IGNORED = {"padding_is_masked": "transformers runs this layer over padding, whatever the mask"}

FAMILIES = (
    Family(
        "recurrent_gemma",
        ("rg_lru", "rg_lru", "softmax_attention", "rg_lru"),
        {
            **_ATTENTION,
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "lru_width": 48,
            "intermediate_size": 64,
            "attention_window_size": 8,
        },
        expected_failures=_IGNORED,
    ),
    Family(
        "rwkv",
        ("rwkv4",) * 3,
        {
            "hidden_size": 16,
            "num_hidden_layers": 3,
            "attention_hidden_size": 24,
            "rescale_every": 2,
            "context_length": 64,
        },
        expected_failures=_IGNORED,
    ),
    # Longer than a chunk: the sequence is taken in chunks, and the rest token by token.
    Family("xlstm", ("mlstm",) * 2, _XLSTM, expected_failures=_IGNORED),
    Family(
        "minimax",
        ("softmax_attention", "lightning_attention", "lightning_attention"),
        {
            **_ATTENTION,
            **_EXPERTS,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_local_experts": 2,
            "layer_types": ["full_attention", "linear_attention", "linear_attention"],
            "block_size": 8,
        },
    ),
    Family(
        "lfm2",
        ("short_convolution", "softmax_attention", "short_convolution"),
        {
            **_ATTENTION,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "full_attn_idxs": [1],
            "conv_bias": True,
        },
    ),
    Family(
        "lfm2_moe",
        ("short_convolution", "short_convolution", "softmax_attention"),
        {
            **_ATTENTION,
            **_EXPERTS,
            "hidden_size": 32,
            "intermediate_size": 32,
            "moe_intermediate_size": 16,
            "num_hidden_layers": 3,
            "num_dense_layers": 1,
            "num_experts": 2,
            "layer_types": ["conv", "conv", "full_attention"],
        },
    ),
    Family(
        "lfm3",
        ("short_convolution", "short_convolution", "softmax_attention", "short_convolution",
         "softmax_attention"),
        {
            **_ATTENTION,
            "hidden_size": 32,
            "intermediate_size": 32,
            "head_dim": 8,
            "num_hidden_layers": 5,
            "sliding_window": 8,
            "conv_L_cache": 7,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
)  # fmt: skip
