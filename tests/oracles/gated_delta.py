"""A made layer of gated delta rules, and its transitions by the equations (arXiv 2412.06464).

    A_t = exp(g_t) (I - beta_t k_t k_t^T)     g_t = -exp(A_log) softplus(a_t + dt_bias)
    beta_t = sigmoid(b_t)                     k_t = x_t / sqrt(|x_t|^2 + 1e-6)

x_t projected, convolved and through SiLU. Tokens are one-hot, so that b and a of each are chosen.
"""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import expit

from tests.oracles.forward import causal_convolution, rms_norm, silu, softplus
from tests.oracles.runs import Model, data_run, scratch

KEY_HEADS, VALUE_HEADS, KEY_WIDTH, VALUE_WIDTH = 2, 4, 6, 5
VOCABULARY = 24
#: A token that erases what its key says, in the first value head: sigmoid(60) is 1 in float32.
ERASING, LOGIT = 7, 60.0
#: One that leaves 1/55 of it, in all heads.
FADING, LEFT = 3, 4.0
AT = "model.layers.0.linear_attn"
#: 1 - beta |k|^2 below this is an erasure, to within the rounding of float32.
ERASED = 2.0**-20


def made_delta(draw):
    """A folder with a one-layer Qwen3-Next whose tokens are one-hot."""
    import torch
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    torch.manual_seed(0)
    config = Qwen3NextConfig(
        vocab_size=VOCABULARY, hidden_size=VOCABULARY, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, num_experts=0,
        layer_types=["linear_attention"], linear_num_key_heads=KEY_HEADS,
        linear_num_value_heads=VALUE_HEADS, linear_key_head_dim=KEY_WIDTH,
        linear_value_head_dim=VALUE_WIDTH,
    )  # fmt: skip
    folder = scratch("gated-delta")
    Qwen3NextForCausalLM(config).save_pretrained(folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    each = VALUE_HEADS // KEY_HEADS
    written = draw.uniform(-3, 3, (KEY_HEADS, each, VOCABULARY))
    written[0, 0, ERASING] = LOGIT
    written[:, :, FADING] = LEFT
    decayed = draw.uniform(-4, 0, (KEY_HEADS, each, VOCABULARY))
    # What a token is after its norm: one entry of sqrt(E), but for the norm's epsilon.
    ba = np.stack([written, decayed], 1).reshape(-1, VOCABULARY) / np.sqrt(VOCABULARY)
    chosen = {
        "model.embed_tokens.weight": np.eye(VOCABULARY),
        f"{AT}.in_proj_ba.weight": ba,
        f"{AT}.in_proj_qkvz.weight": 2
        * draw.normal(size=tensors[f"{AT}.in_proj_qkvz.weight"].shape),
        f"{AT}.conv1d.weight": draw.normal(size=tensors[f"{AT}.conv1d.weight"].shape),
        f"{AT}.A_log": draw.uniform(-2, 1, VALUE_HEADS),
        f"{AT}.dt_bias": draw.uniform(-3, -1, VALUE_HEADS),
    }
    tensors |= {name: value.astype(np.float32) for name, value in chosen.items()}
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def recurrence(model, ids):
    """g (T, H), beta (T, H) and k (T, H, K) of tokens."""
    x = rms_norm(
        model["model.embed_tokens.weight"][ids],
        1 + model["model.layers.0.input_layernorm.weight"],
        model.config["rms_norm_eps"],
    )
    each = VALUE_HEADS // KEY_HEADS
    projected = (x @ model[f"{AT}.in_proj_qkvz.weight"].T).reshape(len(ids), KEY_HEADS, -1)
    key = projected[:, :, KEY_WIDTH : 2 * KEY_WIDTH].reshape(len(ids), -1)
    # Channels of the convolution: all queries, then all keys, then all values.
    own = slice(KEY_HEADS * KEY_WIDTH, 2 * KEY_HEADS * KEY_WIDTH)
    key = silu(causal_convolution(key, model[f"{AT}.conv1d.weight"][own], None))
    key = key.reshape(len(ids), KEY_HEADS, KEY_WIDTH)
    key = key / np.sqrt((key**2).sum(-1, keepdims=True) + 1e-6)
    ba = (x @ model[f"{AT}.in_proj_ba.weight"].T).reshape(len(ids), KEY_HEADS, 2, each)
    b, a = (ba[:, :, part].reshape(len(ids), -1) for part in range(2))
    decay = -np.exp(model[f"{AT}.A_log"]) * softplus(a + model[f"{AT}.dt_bias"])
    return decay, expit(b), np.repeat(key, each, axis=1)


def exact_log_singular_values(decay, beta, key, digits=60):
    """log sigma of A_T ... A_2, falling: (H, K); -inf where it is zero."""
    found = np.empty((decay.shape[1], key.shape[2]))
    with mpmath.workdps(digits):
        for head in range(len(found)):
            product = mpmath.eye(key.shape[2])
            for t in range(1, len(key)):
                k = mpmath.matrix(key[t, head].tolist())
                square = (k.T * k)[0]
                strength = mpmath.mpf(beta[t, head])
                if abs(1 - strength * square) < ERASED:
                    strength = 1 / square
                product = product - strength * k * (k.T * product)
            values = sorted(mpmath.svd_r(product, compute_uv=False), reverse=True)
            least = values[0] * mpmath.mpf(10) ** (10 - digits)
            found[head] = [float(mpmath.log(v)) if v > least else -np.inf for v in values]
    return found + decay[1:].sum(0)[:, None]


@cache
def delta_run(seed, lengths=(24, 24, 17)):
    """A run of a made layer on random tokens; the first sequence alone has no erasing token.

    It has one that fades over and over: singular values lie 1e30 and more apart.
    """
    draw = np.random.default_rng(seed)
    folder = made_delta(draw)
    rows = [draw.integers(0, VOCABULARY, length) for length in lengths]
    rows[0][rows[0] == ERASING] = 0
    rows[0][4:] = FADING
    rows[1][[5, 15]] = ERASING
    rows[2][9] = ERASING
    model = Model(folder)
    run = data_run(folder, rows, ("lyapunov",))
    run.told |= {
        "heads": VALUE_HEADS,
        "key_width": KEY_WIDTH,
        "value_width": VALUE_WIDTH,
        "recurrences": [recurrence(model, ids) for ids in rows],
    }
    return run
