"""Files of fla: options that are refused, hybrids, older layouts, and what is left to the host."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from spectrakit_fla.architecture import FAMILIES
from spectrakit_fla.examples import EXAMPLES
from spectrakit_fla.examples.files import VOCABULARY, tokens, write_files, write_model
from spectrakit_fla.examples.linear import ATTENTION, GATED_LINEAR, HGRN2_LAYER, RETNET
from spectrakit_fla.model import FlaModel

import spectrakit as sk
from spectrakit.architectures.written_out import ForwardPass
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.testing import CheckpointExample

MODELS = [example for example in EXAMPLES if isinstance(example, CheckpointExample)]
GLA = {"hidden_size": 12, "num_heads": 3}
HYBRID = {"layers": [1], "num_heads": 2, "num_kv_heads": 1}


def layers_of(folder):
    with sk.open_checkpoint(str(folder)) as model:
        return model.layers


def final_states(folder, dtype="float32"):
    """What the language head would read."""
    with sk.open_checkpoint(str(folder)) as model:
        loaded = model.architecture.load(model.checkpoint, "cpu", dtype)
        with torch.no_grad():
            return loaded.hidden_states(tokens(), ForwardPass(loaded))


def gla(folder, **config):
    return write_model(folder, "gla", GLA | config, (GATED_LINEAR,) * 2)


@pytest.mark.parametrize(
    ("model_type", "option", "value"),
    [
        ("retnet", "feature_map", "relu"),
        ("retnet", "use_short_conv", True),
        ("retnet", "hidden_act", "powlu"),
        ("retnet", "attnres_block_size", 2),
        ("linear_attn", "feature_map", "taylor"),
        ("linear_attn", "tie_feature_map_qk", True),
        ("linear_attn", "output_norm", "identity"),
        ("gla", "feature_map", "elu"),
        ("gla", "gate_logit_normalizer", 8),
        ("gla", "use_gk", False),
        ("gla", "use_gv", True),
        ("forgetting_transformer", "window_size", 16),
        ("forgetting_transformer", "attn", HYBRID),
    ],
)
def test_an_option_that_is_not_read_is_refused_by_name(tmp_path, model_type, option, value):
    (example,) = (example for example in MODELS if example.name == model_type)
    config = example.write(tmp_path) / "config.json"
    assert layers_of(tmp_path)
    config.write_text(json.dumps(json.loads(config.read_text()) | {option: value}))
    with pytest.raises(UnsupportedError, match=option):
        layers_of(tmp_path)


@pytest.mark.parametrize("option", ["conv_bias", "share_conv_kernel"])
@pytest.mark.parametrize("model_type", ["gla", "hgrn", "hgrn2"])
def test_short_convolutions_of_another_kind_are_refused_where_there_are_any(
    tmp_path, model_type, option
):
    (example,) = (example for example in MODELS if example.name == model_type)
    config = example.write(tmp_path) / "config.json"
    told = json.loads(config.read_text()) | {option: True}
    config.write_text(json.dumps(told))
    assert layers_of(tmp_path)
    config.write_text(json.dumps(told | {"use_short_conv": True}))
    with pytest.raises(UnsupportedError, match=option):
        layers_of(tmp_path)


def test_heads_that_cannot_be_rotated_in_pairs_are_refused(tmp_path):
    config = {"hidden_size": 12, "num_heads": 4}
    with pytest.raises(MalformedError, match="pairs"):
        layers_of(write_model(tmp_path, "retnet", config, (RETNET,)))


@pytest.mark.parametrize("key", ["num_kv_heads", "num_heads", "hidden_size"])
def test_sizes_that_do_not_fit_each_other_are_refused(tmp_path, key):
    with pytest.raises(MalformedError, match="heads"):
        layers_of(gla(tmp_path, **{key: 5}))


def test_hgrn2_may_be_told_its_heads_instead(tmp_path):
    told = {"hidden_size": 12, "expand_ratio": None, "num_heads": 3, "use_lower_bound": False}
    (layer,) = layers_of(write_model(tmp_path, "hgrn2", told, (HGRN2_LAYER,)))
    assert (layer.heads, layer.state_size) == (3, 4)


@pytest.mark.parametrize("as_list", [False, True])
def test_some_layers_of_a_hybrid_are_softmax_attention(tmp_path, as_list):
    attn = [HYBRID, HYBRID | {"layers": [2]}] if as_list else HYBRID | {"layers": [1, 2]}
    mixers = (GATED_LINEAR, ATTENTION, ATTENTION)
    found = layers_of(write_model(tmp_path, "gla", GLA | {"attn": attn}, mixers))
    assert [layer.kind for layer in found] == ["gla", "softmax_attention", "softmax_attention"]


@pytest.mark.parametrize(
    ("attn", "error", "says"),
    [
        (HYBRID | {"layers": [2]}, MalformedError, "no layer of 2"),
        (HYBRID | {"layers": [1, 1]}, MalformedError, "already"),
        (HYBRID | {"layers": [True]}, MalformedError, "no layer"),
        ({"layers": [1]}, MalformedError, "num_heads"),
        ("softmax", MalformedError, "an object"),
        (HYBRID | {"qk_norm": True}, UnsupportedError, "qk_norm"),
    ],
)
def test_a_hybrid_that_is_not_understood_is_refused(tmp_path, attn, error, says):
    mixers = (GATED_LINEAR, ATTENTION)
    folder = write_model(tmp_path, "gla", GLA | {"attn": attn}, mixers)
    with pytest.raises(error, match=says):
        layers_of(folder)


def test_the_norm_of_a_read_out_goes_by_another_name_where_it_is_not_fused(tmp_path):
    apart = {**RETNET, "g_norm.weight": RETNET["g_norm_swish_gate.weight"]}
    del apart["g_norm_swish_gate.weight"]
    config = {"hidden_size": 12, "num_heads": 3}
    fused = write_model(tmp_path / "fused", "retnet", config, (RETNET,))
    write_model(tmp_path / "apart", "retnet", config | {"fuse_norm": False}, (apart,))
    tensors = {
        name.replace("g_norm_swish_gate", "g_norm"): tensor
        for name, tensor in load_file(fused / "model.safetensors").items()
    }
    save_file(tensors, tmp_path / "apart" / "model.safetensors")
    assert torch.equal(final_states(fused), final_states(tmp_path / "apart"))


def test_older_files_have_one_tensor_for_gate_and_up_projection(tmp_path):
    expected = final_states(gla(tmp_path))
    tensors = load_file(tmp_path / "model.safetensors")
    for name in [name for name in tensors if name.endswith("up_proj.weight")]:
        gate = name.replace("up_proj", "gate_proj")
        tensors[gate] = torch.cat([tensors[gate], tensors.pop(name)])
    save_file(tensors, tmp_path / "model.safetensors")
    torch.testing.assert_close(final_states(tmp_path), expected)


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"hidden_size": 1024}, 2816),  # 2/3 x 4 x 1024 = 2730, to the next multiple of 256
        ({"hidden_size": 768, "hidden_ratio": 2}, 1024),  # just that
        ({"hidden_size": 768, "hidden_ratio": 2, "intermediate_size": 100}, 100),
    ],
)
def test_the_width_of_the_mlp(tmp_path, config, width):
    folder = write_files(tmp_path, {"model_type": "gla"} | config, {"model.norm.weight": (1,)})
    with sk.open_checkpoint(str(folder)) as model:
        shapes = FlaModel.around(model.checkpoint, 1)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (config["hidden_size"], width)


@pytest.mark.parametrize("example", MODELS, ids=lambda example: example.name)
def test_half_precision_runs_and_is_close(tmp_path, example):
    folder = example.write(tmp_path)
    half, exact = final_states(folder, "bfloat16"), final_states(folder)
    assert half.dtype == torch.bfloat16
    error = (half.float() - exact).abs().mean() / exact.abs().mean()
    assert error < 0.2


def test_every_family_has_an_example():
    assert {family.model_type for family in FAMILIES} <= {example.name for example in MODELS}


def test_types_of_fla_that_are_not_read_are_nobodys(tmp_path):
    folder = write_files(tmp_path, {"model_type": "gsa"}, {"model.embeddings.weight": (4, 4)})
    with pytest.raises(UnsupportedError, match="gsa"):
        layers_of(folder)


MAMBA2 = {
    # As fla writes them; transformers calls norm_eps and dt_limit otherwise.
    "model_type": "mamba2", "vocab_size": VOCABULARY, "hidden_size": 32,
    "head_dim": 16, "num_heads": 4, "state_size": 8,
    "expand": 2, "conv_kernel": 4, "n_groups": 1, "num_hidden_layers": 2,
    "norm_eps": 1e-5, "rmsnorm": True, "norm_before_gate": False, "D_has_hdim": False,
    "dt_limit": [0.0, {"__float__": "Infinity"}], "dt_min": 0.001, "dt_max": 0.1,
    "use_bias": False, "use_conv_bias": True, "residual_in_fp32": True, "hidden_act": "silu",
    "chunk_size": 256, "fuse_norm": True, "tie_word_embeddings": False,
}  # fmt: skip


def write_mamba2(folder, **config):
    block = {
        "norm.weight": (32,), "mixer.dt_bias": (4,), "mixer.A_log": (4,), "mixer.D": (4,),
        "mixer.conv1d.weight": (80, 1, 4), "mixer.conv1d.bias": (80,),
        "mixer.in_proj.weight": (148, 32), "mixer.norm.weight": (64,),
        "mixer.out_proj.weight": (32, 64),
    }  # fmt: skip
    shapes = {
        "backbone.embeddings.weight": (VOCABULARY, 32),
        "backbone.norm_f.weight": (32,),
        "lm_head.weight": (VOCABULARY, 32),
    }
    for number in range(2):
        shapes |= {f"backbone.layers.{number}.{name}": shape for name, shape in block.items()}
    return write_files(folder, MAMBA2 | config, shapes)


def test_mamba2_of_fla_is_the_hosts(tmp_path):
    with sk.open_checkpoint(str(write_mamba2(tmp_path))) as model:
        assert model.architecture.name == "transformers-mamba2"
        assert [layer.kind for layer in model.layers] == ["mamba2"] * 2
        seen = []
        loaded = model.architecture.load(model.checkpoint, "cpu")
        loaded.run(tokens(), lambda layer, observation: seen.append(observation))
    for observation in seen:
        assert torch.allclose(observation.output(), observation.outputs, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "value"), [("rmsnorm", False), ("norm_before_gate", True), ("D_has_hdim", True)]
)
def test_mamba2_of_fla_with_another_layer_is_refused(tmp_path, option, value):
    with pytest.raises(UnsupportedError, match=option):
        layers_of(write_mamba2(tmp_path, **{option: value}))
    # In a file of transformers it says nothing.
    assert layers_of(write_mamba2(tmp_path, **{option: value, "layer_norm_epsilon": 1e-5}))


def test_what_fla_calls_otherwise_in_mamba2_has_its_effect(tmp_path):
    changed = {"norm_eps": 0.5, "dt_limit": [0.2, 0.3]}
    outputs = {}
    for name, config in ("usual", {}), ("theirs", changed), ("hosts", {
        "layer_norm_epsilon": 0.5, "time_step_limit": [0.2, 0.3]
    }):  # fmt: skip
        with sk.open_checkpoint(str(write_mamba2(tmp_path, **config))) as model:
            steps = {layer.mixer.step_limit for layer in model.layers}
            loaded = model.architecture.load(model.checkpoint, "cpu")
            seen = []
            loaded.run(tokens(), lambda _, o, kept=seen: kept.append(o.recurrence.eigenvalues()))
            outputs[name] = steps, seen[-1].log_modulus
    assert outputs["theirs"][0] == {(0.2, 0.3)}
    assert torch.equal(outputs["theirs"][1], outputs["hosts"][1])
    assert not torch.allclose(outputs["theirs"][1], outputs["usual"][1])
