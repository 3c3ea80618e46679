"""A made layer of attention with learned sinks and a window: a one-layer GPT-OSS.

p_ts = exp(s_ts) / (exp(sink) + sum over the window of exp(s_tj))     (arXiv 2508.10925)
"""

from __future__ import annotations

from functools import cache

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.oracles.forward import Attention, Pass, rms_norm, rotated
from tests.oracles.runs import Model, data_run, scratch

HEADS, GROUPS, WIDTH, VOCABULARY, WINDOW, THETA = 4, 2, 8, 40, 12, 1e4
AT = "model.layers.0.self_attn"


def made_sinks(draw):
    """A folder with the model: random weights, larger than at initialisation."""
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=HEADS, num_key_value_heads=GROUPS, head_dim=WIDTH,
        num_local_experts=1, num_experts_per_tok=1, layer_types=["sliding_attention"],
        sliding_window=WINDOW, max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
    )  # fmt: skip
    folder = scratch("sinks")
    GptOssForCausalLM(config).save_pretrained(folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name, value in tensors.items():
        if name.startswith(AT) or name == "model.embed_tokens.weight":
            tensors[name] = (0.7 * draw.normal(size=value.shape)).astype(np.float32)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def attention(model, ids):
    """What the layer reads of tokens."""
    x = rms_norm(
        model["model.embed_tokens.weight"][ids],
        model["model.layers.0.input_layernorm.weight"],
        model.config["rms_norm_eps"],
    )
    query, key, value = (
        (x @ model[f"{AT}.{name}_proj.weight"].T + model[f"{AT}.{name}_proj.bias"]).reshape(
            len(ids), -1, WIDTH
        )
        for name in ("q", "k", "v")
    )
    query, key = rotated(query, THETA), rotated(key, THETA)
    key, value = (np.repeat(v, HEADS // GROUPS, axis=1) for v in (key, value))
    query, key, value = (v.swapaxes(0, 1) for v in (query, key, value))
    scores = query @ key.swapaxes(1, 2) / np.sqrt(WIDTH)
    age = np.arange(len(ids))[:, None] - np.arange(len(ids))
    scores = np.where((age >= 0) & (age < WINDOW), scores, -np.inf)
    return Attention(query, key, value, scores, model[f"{AT}.sinks"])


@cache
def sink_run(seed, count=4, length=33):
    """A run of it on random tokens."""
    draw = np.random.default_rng(seed)
    folder = made_sinks(draw)
    rows = [*draw.integers(0, VOCABULARY, (count, length))]
    rows[-1] = rows[-1][: length // 3]
    run = data_run(folder, rows, ("spectrum", "lyapunov", "kernel"))
    model = Model(folder)
    run.told |= {"model": model, "passes": [Pass([], [attention(model, ids)]) for ids in rows]}
    return run
