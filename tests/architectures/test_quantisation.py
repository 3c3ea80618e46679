"""Quantised checkpoints: weights mode where A's parameters are plain, otherwise the reason."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.errors import UnsupportedError

PROJECTION = "backbone.layers.1.mixer.in_proj.weight"


def eight_bit_floats(tensors):
    tensors[PROJECTION] = tensors[PROJECTION].to(torch.float8_e4m3fn)
    tensors[PROJECTION.replace("weight", "weight_scale_inv")] = torch.ones(1)


def bitsandbytes_eight(tensors):
    tensors[PROJECTION] = (tensors[PROJECTION] * 10).to(torch.int8)
    tensors[PROJECTION.replace("weight", "SCB")] = torch.ones(len(tensors[PROJECTION]))


def bitsandbytes_four(tensors):
    packed = tensors[PROJECTION].numel() // 2
    tensors[PROJECTION] = torch.zeros(packed, 1, dtype=torch.uint8)
    tensors[PROJECTION + ".absmax"] = torch.ones(packed // 32)
    tensors[PROJECTION + ".quant_state.bitsandbytes__nf4"] = torch.zeros(40, dtype=torch.uint8)


def packed_four(tensors):
    weight = tensors.pop(PROJECTION)
    name = PROJECTION.removesuffix(".weight")
    tensors[name + ".weight_packed"] = torch.zeros(
        weight.shape[0], weight.shape[1] // 8, dtype=torch.int32
    )
    tensors[name + ".weight_scale"] = torch.ones(weight.shape[0], 1)


FORMS = (eight_bit_floats, bitsandbytes_eight, bitsandbytes_four, packed_four)


def quantised(source, folder, change, config=None):
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if config is not None:
        whole = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(whole | config))
    return str(folder)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("config", [None, {"quantization_config": {"quant_method": "some"}}])
def test_plain_recurrence_parameters_are_read_and_the_forward_pass_refused(
    form, config, tiny_mamba_folder, tmp_path
):
    folder = quantised(tiny_mamba_folder, tmp_path / "quantised", form, config)
    plain = sk.analyze(str(tiny_mamba_folder), mode="weights").table("spectrum")
    found = sk.analyze(folder, mode="weights").table("spectrum")
    names = [name for name in plain.column_names if name not in ("model_id", "revision")]
    assert found.select(names).equals(plain.select(names))
    with pytest.raises(UnsupportedError, match="is quantised .*; its forward pass") as caught:
        sk.analyze(folder, mode="data")
    assert "mode='weights'" in caught.value.hint


def test_a_quantised_transition_is_refused_in_either_mode(tiny_mamba_folder, tmp_path):
    def transition(tensors):
        name = "backbone.layers.1.mixer.A_log"
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)

    folder = quantised(tiny_mamba_folder, tmp_path / "quantised", transition)
    for mode in ("weights", "data"):
        with pytest.raises(UnsupportedError, match="stored as F8_E4M3, not as floats"):
            sk.analyze(folder, mode=mode)


def test_half_precision_is_not_quantised(tiny_mamba_folder, tmp_path):
    def half(tensors):
        for name in tensors:
            if not name.endswith(("A_log", ".D")):
                tensors[name] = tensors[name].bfloat16()

    folder = quantised(tiny_mamba_folder, tmp_path / "mixed", half)
    with sk.open_checkpoint(folder) as model:
        runnable = model.load("cpu")
        assert {p.dtype for p in runnable.model.parameters()} == {torch.float32}
