"""What the families of linear recurrences list, and what they refuse: configs, names and shapes."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file

import spectrakit as sk
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.inspection import inspect_model


@pytest.fixture
def written(tmp_path):
    """Writes tensors of the given shapes, and opens them with a config."""

    def write(shapes, **config):
        generator = torch.Generator().manual_seed(0)
        tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        save_file(tensors, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(config))
        return sk.open_checkpoint(str(tmp_path))

    return write


def blocks(count, **tensors):
    """`tensors` in each of `count` blocks; a double underscore stands for a dot."""
    return {
        f"{name.replace('__', '.').replace('N', str(index))}": shape
        for index in range(count)
        for name, shape in tensors.items()
    }


RETNET = {"model__layers__N__attn__q_proj__weight": (8, 8)}
LM = {"model__layers__N__input_layernorm__weight": (8,)}


def test_retnet_needs_no_tensor_for_its_spectrum(written):
    config = {"model_type": "retnet", "hidden_size": 8, "num_heads": 2, "num_hidden_layers": 3}
    with written(blocks(3, **RETNET), **config, attn={"layers": [1], "num_heads": 2}) as model:
        kinds = [layer.kind for layer in model.layers]
        assert kinds == ["retention", "softmax_attention", "retention"]
        assert [cost.weights_bytes for cost in inspect_model(model).layers] == [0, None, 0]
        recurrence = model.recurrence(2)
        assert recurrence.eigenvalues().modulus.flatten().tolist() == [31 / 32, 63 / 64]
        assert recurrence.eigenvalues().multiplicity == 4 * 8  # expand_v is 2
        with pytest.raises(UnsupportedError, match="only fla itself"):
            model.recurrence(1)
        run = sk.analyze(model)
        rows = run.table("layers").to_pylist()
        assert [row["status"] for row in rows] == ["analysed", "unsupported", "analysed"]
        assert [row["bytes_read"] for row in rows] == [0, 0, 0]
        with pytest.raises(UnsupportedError, match="cannot be run here"):
            sk.analyze(model, mode="data")


def test_linear_attention_of_fla_is_listed_with_the_reason(written):
    with (
        written(blocks(2, **RETNET), model_type="linear_attn", num_hidden_layers=2) as model,
        pytest.raises(UnsupportedError, match="no layer .* can be analysed: its recurrence needs"),
    ):
        sk.analyze(model)


def test_lightning_attention_needs_only_the_config(written):
    config = {"model_type": "minimax", "hidden_size": 8, "num_attention_heads": 2}
    with written(blocks(3, **LM), **config, num_hidden_layers=3) as model:
        kinds = [layer.kind for layer in model.layers]
        assert kinds == ["softmax_attention", "lightning_attention", "softmax_attention"]
        decay_rate = model.recurrence(1).eigenvalues().decay_rate.flatten()
        depth = 1 - 1 / (2 + 1e-5) + 1e-5
        assert decay_rate.tolist() == pytest.approx([depth / 16, depth / 256], rel=1e-14)


def test_fused_gates_of_xlstm_are_the_second_half(written):
    shapes = blocks(1, backbone__blocks__N__mlstm_layer__ifgate_preact__bias=(6,))
    config = {"hidden_size": 12, "num_heads": 3, "num_blocks": 1, "weight_mode": "fused"}
    with written(shapes, model_type="xlstm", **config) as model:
        (layer,) = model.layers
        assert (layer.heads, layer.state_size) == (3, 2)
        (name,) = layer.weights_tensors
        forget = 15 * torch.tanh(model.checkpoint.read([name])[name].double()[3:] / 15)
        torch.testing.assert_close(
            model.recurrence(0).eigenvalues().modulus.squeeze(-1), torch.sigmoid(forget)
        )


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({"model_type": "lfm2"}, "aaaaaa"),
        ({"model_type": "lfm2", "full_attn_idxs": [2]}, "ccaccc"),
        ({"model_type": "lfm3"}, "ccacac"),
        ({"model_type": "lfm2_moe", "layer_types": ["conv", "full_attention"] * 3}, "cacaca"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["model_type"],
)
def test_lfm_has_the_layers_of_its_config_class(written, config, kinds):
    from transformers import AutoConfig

    width = AutoConfig.for_model(config["model_type"]).conv_L_cache
    shapes = blocks(
        6,
        model__layers__N__conv__conv__weight=(4, 1, width),
        model__layers__N__conv__in_proj__weight=(12, 4),
        model__layers__N__conv__out_proj__weight=(4, 4),
    )
    settings = {"hidden_size": 4, "num_hidden_layers": 6, "num_attention_heads": 2}
    with written(shapes, **config, **settings) as model:
        assert "".join("c" if "conv" in layer.kind else "a" for layer in model.layers) == kinds
        if "c" not in kinds:
            return
        run = sk.analyze(model, mode="weights")
        assert set(run.table("spectrum").column("decay_rate").to_pylist()) == {math.inf}
    # The same rule as the library's own.
    theirs = AutoConfig.for_model(**config, **settings).layer_types
    assert [kind[0] if kind == "conv" else "a" for kind in theirs] == list(kinds)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "lfm2_moe"}, "has no layer_types"),
        ({"model_type": "lfm2", "layer_types": ["conv"]}, "the kinds of 1 blocks"),
        ({"model_type": "lfm2", "layer_types": ["conv", "mamba"]}, "holds 'mamba'"),
        ({"model_type": "minimax", "layer_types": ["linear_attention"]}, "the kinds of 1 blocks"),
        ({"model_type": "recurrent_gemma", "block_types": ["rnn"]}, "block_types holds 'rnn'"),
        ({"model_type": "recurrent_gemma", "block_types": "recurrent"}, "expected a list"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(written, config, says):
    with (
        written(blocks(2, **LM), **config, num_hidden_layers=2) as model,
        pytest.raises(MalformedError, match=says),
    ):
        _ = model.layers


SHARED = {"blocks__N__ln1__weight": (12,)}
LATER = {**SHARED, "blocks__N__att__ln_x__weight": (12,), "blocks__N__att__time_faaaa": (3, 4)}


@pytest.mark.parametrize(
    ("tensors", "kind", "heads", "channels", "state_size"),
    [
        ({**SHARED, "blocks__N__att__time_decay": (12,)}, "rwkv4", None, 12, 1),
        ({**LATER, "blocks__N__att__time_decay": (3, 4)}, "rwkv5", 3, None, 4),
        ({**LATER, "blocks__N__att__time_decay": (3,)}, "rwkv5", 3, None, 4),
        (
            {
                **LATER,
                "blocks__N__att__time_decay": (1, 1, 12),
                "blocks__N__att__time_decay_w1": (12, 2),
            },
            "rwkv6", 3, None, 4,
        ),
    ],
    ids=["rwkv4", "rwkv5", "rwkv5-first", "rwkv6"],
)  # fmt: skip
def test_files_of_rwkv_are_known_by_their_names(
    written, tensors, kind, heads, channels, state_size
):
    with written(blocks(2, **tensors)) as model:
        for layer in model.layers:
            assert (layer.kind, layer.heads, layer.channels) == (kind, heads, channels)
            assert layer.state_size == state_size
            (name,) = layer.weights_tensors
            decay = model.checkpoint.read([name])[name].double().exp().flatten()
            found = model.recurrence(layer.index).eigenvalues().decay_rate.flatten()
            torch.testing.assert_close(found, decay.repeat_interleave(len(found) // len(decay)))
        with pytest.raises(UnsupportedError, match="cannot be run here"):
            sk.analyze(model, mode="data")


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({**LATER, "blocks__N__att__time_decay": (5, 4)}, "12 channels do not make 5 heads"),
        ({**LATER, "blocks__N__att__time_decay": (3, 5)}, "has shape"),
        ({**SHARED, "blocks__N__att__time_decay": (2, 6)}, "has shape"),
        (
            {
                **SHARED,
                "blocks__N__att__ln_x__weight": (12,),
                "blocks__N__att__time_decay": (1, 1, 12),
                "blocks__N__att__time_decay_w1": (12, 2),
            },
            "time_faaaa is missing",
        ),
    ],
)
def test_shapes_that_no_version_of_rwkv_has_are_refused(written, tensors, says):
    with written(blocks(1, **tensors)) as model, pytest.raises(MalformedError, match=says):
        _ = model.layers


RWKV7 = {"blocks__N__att__w0": (1, 1, 12), "blocks__N__att__r_k": (3, 4)}


def test_rwkv7_has_its_decays_at_their_bias(written):
    with written(blocks(2, **RWKV7)) as model:
        for layer in model.layers:
            assert (layer.kind, layer.heads, layer.state_size) == ("rwkv7", 3, 4)
            (name,) = layer.weights_tensors
            bias = model.checkpoint.read([name])[name].double().view(3, 4)
            recurrence = model.recurrence(layer.index)
            assert recurrence.mode == "nominal"
            found = recurrence.eigenvalues().decay_rate.sort(-1).values
            torch.testing.assert_close(found, (bias.sigmoid() * math.exp(-0.5)).sort(-1).values)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"blocks__N__att__w0": (1, 1, 12)}, "r_k is missing"),
        ({**RWKV7, "blocks__N__att__r_k": (12,)}, "has shape"),
        ({**RWKV7, "blocks__N__att__r_k": (3, 5)}, "has shape"),
    ],
)
def test_shapes_that_rwkv7_does_not_have_are_refused(written, tensors, says):
    with written(blocks(1, **tensors)) as model, pytest.raises(MalformedError, match=says):
        _ = model.layers


def test_a_preview_of_rwkv7_is_not_taken_for_rwkv6(written):
    tensors = {
        **LATER,
        "blocks__N__att__time_decay": (1, 1, 12),
        "blocks__N__att__time_decay_w1": (12, 2),
        "blocks__N__att__time_aaaaa": (1, 1, 12),
    }
    with written(blocks(2, **tensors)) as model:
        assert [layer.kind for layer in model.layers] == ["rwkv7"] * 2
        with pytest.raises(UnsupportedError, match="a preview of RWKV-7"):
            sk.analyze(model)
