"""Inspection: what headers alone tell, and the one option that reads values."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.inspection import bad_tensors, inspect_model
from spectrakit.progress import Silent
from tests.support.mamba_ssm_files import write_mamba_ssm


def inspected(name):
    with sk.open_checkpoint(name) as model:
        return inspect_model(model)


def test_parameters_are_counted_once_however_many_names_they_have(tiny_folder, tmp_path):
    weights = load_file(tiny_folder / "model.safetensors")
    original = write_mamba_ssm(tiny_folder, tmp_path / "o")  # its head is tied to the embedding
    expected = sum(w.numel() for w in weights.values())
    assert inspected(str(tiny_folder)).parameters == expected
    assert inspected(str(original)).parameters == expected
    assert inspected(str(original)).dtypes == {"F32": expected}


def test_bytes_are_those_of_the_tensors_each_mode_reads():
    found = inspected("tiny-mamba")
    assert [cost.weights_bytes for cost in found.layers] == [4 * 192 * 17] * 3
    assert found.weights_bytes == 3 * 4 * 192 * 17
    mixer = found.layers[0].layer.mixer
    assert found.layers[0].data_bytes == 4 * sum(math.prod(s) for s in mixer.shapes().values())


def test_layers_without_a_mixer_cost_nothing_that_is_known(tiny_mamba2_folder, tmp_path):
    hybrid = write_mamba_ssm(tiny_mamba2_folder, tmp_path / "h", attn_layer_idx=[1])
    cost = inspected(str(hybrid)).layers[1]
    assert (cost.weights_bytes, cost.data_bytes) == (None, None)


def test_values_that_cannot_be_read_are_left_out_and_named(tmp_path, tiny_mamba_folder, caplog):
    whole = (tiny_mamba_folder / "model.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    header["backbone.norm_f.weight"]["dtype"] = "F32_TO_COME"
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + whole[8 + size :]
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_bytes((tiny_mamba_folder / "config.json").read_bytes())
    caplog.set_level("INFO", "spectrakit")
    with sk.open_checkpoint(str(tmp_path)) as model:
        assert "F32_TO_COME" in inspect_model(model).dtypes
        assert list(bad_tensors(model.checkpoint, Silent())) == []
    assert "values not checked: backbone.norm_f.weight cannot be read" in caplog.messages


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bad_values_are_counted_by_tensor(dtype, tmp_path, tiny_mamba_folder):
    weights = load_file(tiny_mamba_folder / "model.safetensors")
    weights = {name: w.to(dtype) for name, w in weights.items()}
    weights["backbone.layers.0.mixer.D"][:3] = math.nan
    weights["backbone.norm_f.weight"][5] = -math.inf
    weights["counts"] = torch.arange(4)
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((tiny_mamba_folder / "config.json").read_bytes())
    with sk.open_checkpoint(str(tmp_path)) as model:
        found = {bad.name: bad for bad in bad_tensors(model.checkpoint, Silent())}
    assert set(found) == {"backbone.layers.0.mixer.D", "backbone.norm_f.weight"}
    assert found["backbone.layers.0.mixer.D"].nans == 3
    assert found["backbone.norm_f.weight"].infinities == 1
    assert found["backbone.norm_f.weight"].elements == 96
