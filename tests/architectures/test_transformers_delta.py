"""Delta rule families: the configs and tensor names of published checkpoints, and wrappers."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import MalformedError, UnsupportedError
from tests.families import delta
from tests.families.base import VOCABULARY, observe
from tests.support.shapes import write

#: Tensors that weights mode reads of each layer.
GATE = ("A_log", "dt_bias")


def published(tmp_path, config, blocks, linear, rate_shape, channels, prefix="model.layers."):
    """A folder with a config, the gates of its `linear` blocks (module by number), and no more.

    Every block has one tensor besides, which nothing reads.
    """
    tensors = {}
    for n in range(blocks):
        tensors[f"{prefix}{n}.input_layernorm.weight"] = torch.ones(1)
        if n in linear:
            module = f"{prefix}{n}.{linear[n]}"
            tensors[f"{module}.A_log"] = torch.zeros(rate_shape)
            tensors[f"{module}.dt_bias"] = torch.zeros(channels)
    return str(write(tmp_path / "published", config, tensors, form="safetensors"))


def layers(name):
    with sk.open_checkpoint(name) as model:
        return model.layers


def kinds(name):
    return [layer.kind for layer in layers(name)]


QWEN3_NEXT_80B = {
    "model_type": "qwen3_next",
    "full_attention_interval": 4,
    "hidden_size": 2048,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "num_attention_heads": 16,
    "num_hidden_layers": 48,
}
KIMI_LINEAR_48B = {
    "model_type": "kimi_linear",
    "head_dim": 72,
    "hidden_size": 2304,
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "head_dim": 128,
        "kda_layers": [n for n in range(1, 27) if n % 4],
        "num_heads": 32,
        "short_conv_kernel_size": 4,
    },
    "num_attention_heads": 32,
    "num_hidden_layers": 27,
    "num_nextn_predict_layers": 0,
}
LING_3 = {
    "model_type": "bailing_hybrid",
    "head_dim": 128,
    "layer_group_size": 6,
    "num_attention_heads": 32,
    "num_hidden_layers": 42,
    "num_nextn_predict_layers": 1,
}


def test_qwen3_next_reads_its_gates_alone(tmp_path):
    linear = {n: "linear_attn" for n in range(48) if n % 4 != 3}
    name = published(tmp_path, QWEN3_NEXT_80B, 48, linear, (32,), 32)
    found = layers(name)
    assert [n for n, layer in enumerate(found) if layer.kind == "softmax_attention"] == [
        *range(3, 48, 4)
    ]
    first = found[0]
    assert (first.kind, first.heads, first.state_size) == ("gated_deltanet", 32, 128)
    assert first.mixer.groups == 16
    assert first.weights_tensors == tuple(f"model.layers.0.linear_attn.{role}" for role in GATE)
    run = sk.analyze(name)
    rows = run.table("layers").to_pylist()
    assert [row["status"] for row in rows[:4]] == ["analysed"] * 3 + ["needs-data"]
    assert rows[0]["bytes_read"] == 2 * 32 * 4


def test_kimi_linear_counts_its_layers_from_one(tmp_path):
    linear = {n - 1: "self_attn" for n in KIMI_LINEAR_48B["linear_attn_config"]["kda_layers"]}
    name = published(tmp_path, KIMI_LINEAR_48B, 27, linear, (1, 1, 32, 1), 32 * 128)
    found = layers(name)
    assert {n for n, layer in enumerate(found) if layer.kind == "kimi_delta"} == set(linear)
    assert (found[0].heads, found[0].state_size) == (32, 128)
    assert found[0].weights_tensors == tuple(f"model.layers.0.self_attn.{role}" for role in GATE)
    summary = sk.analyze(name).table("spectrum_summary")
    assert set(summary.column("layer").to_pylist()) == set(linear)


def test_kimi_linear_layers_that_are_named_twice(tmp_path):
    section = KIMI_LINEAR_48B["linear_attn_config"] | {"kda_layers": [1, 1]}
    name = published(tmp_path, KIMI_LINEAR_48B | {"linear_attn_config": section}, 27, {}, (1,), 1)
    with pytest.raises(MalformedError, match="do not name each of 27 layers once"):
        layers(name)


def test_ling_has_names_of_its_own_and_a_layer_that_predicts_further(tmp_path):
    linear = {n: "attention" for n in range(42) if n % 6 != 5}
    name = published(tmp_path, LING_3, 43, linear, (32,), 32 * 128)
    found = layers(name)
    assert len(found) == 42
    assert found[0].path == "model.layers.0.self_attn"  # where the module is
    assert found[0].weights_tensors == tuple(f"model.layers.0.attention.{role}" for role in GATE)
    assert found[0].mixer.lower_bound == -5.0


@pytest.mark.parametrize("wrapped", [False, True])
def test_glm_is_published_with_and_without_a_wrapper(wrapped, tmp_path):
    text = {
        "model_type": "glm5_next_text",
        "layer_types": ["linear_attention", "deepseek_sparse_attention"],
        "linear_attn_config": {"head_dim": 128, "num_heads": 64, "gate_lower_bound": -4.0},
        "num_hidden_layers": 2,
    }
    config = {"model_type": "glm5_next", "text_config": text} if wrapped else text
    prefix = "model.language_model.layers." if wrapped else "model.layers."
    name = published(tmp_path, config, 2, {0: "self_attn"}, (64,), 64 * 128, prefix)
    assert kinds(name) == ["kimi_delta", "softmax_attention"]
    assert layers(name)[0].mixer.lower_bound == -4.0


@pytest.mark.parametrize(
    ("changes", "lower_bound"),
    [
        ({}, -5.0),
        ({"linear_lower_bound": None}, None),
        ({"linear_attn_config": {"gate_lower_bound": None}}, -5.0),
        ({"linear_attn_config": {"gate_lower_bound": None, "safe_gate": False}}, None),
    ],
)
def test_the_bound_of_glms_decay(changes, lower_bound, tmp_path):
    config = {"model_type": "glm5_next_text", "num_hidden_layers": 1, "linear_num_heads": 2}
    name = published(tmp_path, config | changes, 1, {0: "self_attn"}, (2,), 2 * 128)
    assert layers(name)[0].mixer.lower_bound == lower_bound


@pytest.mark.parametrize("bound", [0.5, "low", True])
def test_a_bound_that_is_none(bound, tmp_path):
    config = {"model_type": "glm5_next_text", "num_hidden_layers": 1, "linear_lower_bound": bound}
    name = published(tmp_path, config, 1, {}, (1,), 1)
    with pytest.raises(MalformedError, match=r"linear_lower_bound is .*, not a negative number"):
        layers(name)


def test_layer_types_must_name_every_layer(tmp_path):
    name = published(
        tmp_path, QWEN3_NEXT_80B | {"layer_types": ["full_attention"]}, 48, {}, (1,), 1
    )
    with pytest.raises(MalformedError, match="kinds of 1 blocks, and num_hidden_layers is 48"):
        layers(name)


def wrapper(model_type, text, vision, folder):
    """A model of text and images, and what its language model makes of some tokens."""
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    torch.manual_seed(0)
    with quiet_transformers():
        config = AutoConfig.for_model(model_type, text_config=text, vision_config=vision)
        model = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config).eval().float()
        model.save_pretrained(folder)
    return model.model.language_model


VISION = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_heads": 2,
    "patch_size": 2,
    "out_hidden_size": 32,
}


@pytest.mark.parametrize(
    ("model_type", "family", "vision"),
    [
        ("qwen3_5", "qwen3_5_text", VISION | {"num_position_embeddings": 16}),
        ("qwen3_5_moe", "qwen3_5_moe_text", VISION | {"num_position_embeddings": 16}),
        ("qwen4_exp", "qwen4_exp_text", VISION | {"num_position_embeddings": 16}),
        ("glm5_next", "glm5_next_text", VISION | {"image_size": 8}),
    ],
)
def test_the_language_model_of_a_wrapper(model_type, family, vision, tmp_path):
    (family,) = (known for known in delta.FAMILIES if str(known) == family)
    text = family.config | {"model_type": family.model_type, "vocab_size": VOCABULARY}
    language_model = wrapper(model_type, text, vision, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("model.visual.") for name in weights)
    if model_type != "glm5_next":  # as published, with heads that predict further tokens
        weights["mtp.fc.weight"] = torch.ones(1)
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tokens = family.token_ids()
    with sk.open_checkpoint(str(tmp_path)) as model:
        assert tuple(layer.kind for layer in model.layers) == family.kinds
        assert model.layers[0].weights_tensors[0].startswith("model.language_model.layers.0.")
        runnable = model.architecture.load(model.checkpoint, "cpu")
        for _, observation in observe(model, tokens):
            torch.testing.assert_close(
                observation.output().float(), observation.outputs, rtol=1e-3, atol=1e-5
            )
    with torch.no_grad():
        found = runnable.model.base_model(input_ids=tokens, use_cache=False)[0]
        expected = language_model(input_ids=tokens, use_cache=False)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_wrapper_says_how_the_whole_model_is_quantised_and_tied(tmp_path):
    text = {"num_hidden_layers": 1, "linear_num_value_heads": 2, "linear_num_key_heads": 1}
    whole = {"tie_word_embeddings": True, "quantization_config": {"quant_method": "fp8"}}
    config = {"model_type": "qwen3_5", "text_config": text, **whole}
    prefix = "model.language_model.layers."
    name = published(tmp_path, config, 1, {0: "linear_attn"}, (2,), 2, prefix)
    with sk.open_checkpoint(name) as model:
        inner = model.architecture.config(model.checkpoint).config
        assert inner == text | whole | {"model_type": "qwen3_5_text"}
        with pytest.raises(UnsupportedError, match="is quantised"):
            model.architecture.load(model.checkpoint, "cpu")


def test_bailing_as_transformers_saves_it(tmp_path):
    family = next(known for known in delta.FAMILIES if known.model_type == "bailing_hybrid")
    folder = family.write(tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    assert config["head_dim"] != config["linear_head_dim"]  # the one is the rotary part's now
    assert layers(str(folder))[0].state_size == config["linear_head_dim"]
