"""What architectures list: every layer, and every way a config and its weights can disagree."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.errors import MalformedError, UnsupportedError
from tests.conftest import CHECKPOINTS
from tests.support.mamba_ssm_files import write_mamba_ssm


def changed(folder, tmp_path, config=None, weights=None):
    """A copy of a checkpoint with `config` merged in and its tensors passed through `weights`."""
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "config.json").read_text()) | (config or {})
    settings = {key: value for key, value in settings.items() if value is not ...}
    (copy / "config.json").write_text(json.dumps(settings))
    if weights is not None:
        tensors = load_file(copy / "model.safetensors")
        save_file(weights(tensors), copy / "model.safetensors")
    return str(copy)


def layers(name):
    with sk.open_checkpoint(name) as model:
        return model.layers


def test_tiny_mamba_lists_its_channels():
    found = layers(str(CHECKPOINTS / "tiny-mamba"))
    assert [layer.index for layer in found] == [0, 1, 2]
    for layer in found:
        assert layer.kind == "mamba"
        assert layer.path == f"backbone.layers.{layer.index}.mixer"
        assert (layer.heads, layer.channels, layer.state_size) == (None, 192, 16)
        assert layer.weights_tensors == (f"{layer.path}.A_log", f"{layer.path}.dt_proj.bias")


def test_tiny_mamba2_lists_its_heads():
    for layer in layers(str(CHECKPOINTS / "tiny-mamba2")):
        assert layer.kind == "mamba2"
        assert (layer.heads, layer.channels, layer.state_size) == (12, None, 32)
        assert layer.weights_tensors == (f"{layer.path}.A_log", f"{layer.path}.dt_bias")


def test_both_formats_list_the_same_layers(tiny_folder, tmp_path):
    original = write_mamba_ssm(tiny_folder, tmp_path / "original")
    assert layers(str(original)) == layers(str(tiny_folder))


def test_attention_layers_of_a_hybrid_are_listed_with_the_reason(tiny_mamba2_folder, tmp_path):
    original = write_mamba_ssm(tiny_mamba2_folder, tmp_path / "h", attn_layer_idx=[1], attn_cfg={})
    weights = torch.load(original / "pytorch_model.bin", weights_only=True)
    weights = {n: w for n, w in weights.items() if ".layers.1.mixer." not in n}
    for name, shape in (("in_proj", (3 * 96, 96)), ("out_proj", (96, 96))):
        weights[f"backbone.layers.1.mixer.{name}.weight"] = torch.zeros(shape)
    torch.save(weights, original / "pytorch_model.bin")
    found = layers(str(original))
    assert [layer.kind for layer in found] == ["mamba2", "attention", "mamba2"]
    assert found[1].mixer is None
    assert "not causal" in found[1].reason
    run = sk.analyze(str(original))
    rows = run.table("layers").to_pylist()
    assert [row["status"] for row in rows] == ["analysed", "unsupported", "analysed"]
    assert rows[1]["reason"] == found[1].reason
    with pytest.raises(UnsupportedError, match="layer 1: attention that is not causal"):
        sk.analyze(str(original), mode="data")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 4}, "num_hidden_layers = 4, its weights hold 3 layers"),
        ({"num_hidden_layers": 2}, "num_hidden_layers = 2, its weights hold 3 layers"),
        ({"state_size": 8}, r"A_log has shape \[192, 16\], the config makes A_log \[192, 8\]"),
        ({"hidden_size": 48}, "has shape .*, the config makes"),
        ({"hidden_size": "wide"}, "hidden_size is 'wide', expected an integer"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_size": -3}, "hidden_size = -3 is not a size"),
        ({"state_size": 10**30}, "is not a size"),
        ({"use_conv_bias": "yes"}, "use_conv_bias is 'yes'"),
        ({"use_bias": True}, "in_proj.bias .* is not in the weights"),
    ],
)
def test_a_config_that_disagrees_with_the_weights(config, message, tiny_mamba_folder, tmp_path):
    with pytest.raises(MalformedError, match=message):
        layers(changed(tiny_mamba_folder, tmp_path, config))


@pytest.mark.parametrize("limit", [[0.5], [1, 0], ["a", 2], 3, [-1, 1], [math.nan, 1]])
def test_a_step_limit_that_is_no_interval(limit, tiny_mamba2_folder, tmp_path):
    with pytest.raises(MalformedError, match=r"time_step_limit is .*, not an interval"):
        layers(changed(tiny_mamba2_folder, tmp_path, {"time_step_limit": limit}))


def test_a_missing_tensor_is_named(tiny_mamba_folder, tmp_path):
    def without(tensors):
        del tensors["backbone.layers.1.mixer.D"]
        return tensors

    with pytest.raises(MalformedError, match=r"layer 1: backbone.layers.1.mixer.D \(D\)"):
        layers(changed(tiny_mamba_folder, tmp_path, weights=without))


def test_quantised_parameters_are_refused(tiny_mamba_folder, tmp_path):
    def quantised(tensors):
        name = "backbone.layers.2.mixer.A_log"
        tensors[name] = tensors[name].to(torch.int8)
        return tensors

    with pytest.raises(UnsupportedError, match="stored as I8, not as floats"):
        layers(changed(tiny_mamba_folder, tmp_path, weights=quantised))


def without_layers(tensors):
    return {name: tensor for name, tensor in tensors.items() if ".mixer." not in name}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "reformer"}, "no architecture here reads .* \\(model_type 'reformer'\\)"),
        ({"model_type": ..., "ssm_cfg": {}}, "its config has no model_type"),
        ({"model_type": 7}, "model_type 7"),
    ],
)
def test_a_model_nobody_claims(config, message, tiny_mamba_folder, tmp_path):
    folder = changed(tiny_mamba_folder, tmp_path, config, weights=without_layers)
    with pytest.raises(UnsupportedError, match=message) as caught:
        sk.open_checkpoint(folder)
    assert caught.value.hint == f"spectrakit inspect {folder}"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "Mamba9"}, UnsupportedError, "no architecture here reads .*layer 'Mamba9'"),
        ({"layer": "Mamba2", "d_ssm": 64}, UnsupportedError, "ssm_cfg.d_ssm = 64"),
        ({"d_state": "x"}, MalformedError, "ssm_cfg.d_state is 'x'"),
        ({"expand": 0}, MalformedError, "ssm_cfg.expand is 0"),
        (7, MalformedError, "ssm_cfg is 7, expected an object"),
    ],
)
def test_options_of_the_original_format(options, error, message, tiny_mamba_folder, tmp_path):
    original = write_mamba_ssm(tiny_mamba_folder, tmp_path / "original", ssm_cfg=options)
    with pytest.raises(error, match=message):
        layers(str(original))


def test_weights_that_do_not_fit_the_model_cannot_run(tiny_mamba_folder, tmp_path):
    def extra(tensors):
        return tensors | {"backbone.adapter.weight": torch.zeros(2)}

    name = changed(tiny_mamba_folder, tmp_path, weights=extra)
    assert len(layers(name)) == 3  # weights mode does not mind
    with pytest.raises(MalformedError, match=r"no place for backbone.adapter.weight"):
        sk.analyze(name, mode="data")


def test_the_embedding_must_fit_too(tiny_mamba_folder, tmp_path):
    name = changed(tiny_mamba_folder, tmp_path, {"vocab_size": 300})
    with pytest.raises(MalformedError, match="another shape of backbone.embeddings.weight"):
        sk.analyze(name, mode="data")


def test_remote_code_is_never_run(tiny_mamba_folder, tmp_path):
    name = changed(tiny_mamba_folder, tmp_path, {"auto_map": {"AutoConfig": "evil.Config"}})
    marker = tmp_path / "ran"
    (tmp_path / "changed" / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    run = sk.analyze(name, mode="data", source=None)
    assert run.table("layers").num_rows == 3
    assert not marker.exists()


def test_falcon_mamba_states_its_inner_width(tmp_path):
    """FalconMamba's `expand` is not its inner width over its outer width."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "falcon_mamba", vocab_size=32, hidden_size=16, state_size=4, num_hidden_layers=2,
        expand=16, intermediate_size=24, time_step_rank=3,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with sk.open_checkpoint(str(tmp_path)) as model:
        assert [(layer.channels, layer.mixer.norm_epsilon) for layer in model.layers] == [
            (24, config.mixer_rms_eps)
        ] * 2
        assert model.recurrence(1).operator.rate.shape == (24, 4)
