"""RWKV-6 and 7 through GGUF: the tensors are those of the project's own file.

What llama.cpp's converter does to them was taken from its source (`conversion/rwkv.py`).
"""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from spectrakit_rwkv.examples import state_dict

import spectrakit as sk

_NAMES = {
    "att.key": "time_mix_key",
    "att.value": "time_mix_value",
    "att.receptance": "time_mix_receptance",
    "att.gate": "time_mix_gate",
    "att.output": "time_mix_output",
    "att.ln_x": "time_mix_ln",
    "ffn.key": "channel_mix_key",
    "ffn.value": "channel_mix_value",
    "ffn.receptance": "channel_mix_receptance",
    "ln1": "attn_norm",
    "ln2": "attn_norm_2",
    "att.time_decay": "time_mix_decay",
    "att.time_decay_w1": "time_mix_decay_w1",
    "att.time_decay_w2": "time_mix_decay_w2",
    "att.time_maa_w1": "time_mix_w1",
    "att.time_maa_w2": "time_mix_w2",
    "att.time_maa_x": "time_mix_lerp_x",
    "att.time_faaaa": "time_mix_first",
    "ffn.time_maa_k": "channel_mix_lerp_k",
    "ffn.time_maa_r": "channel_mix_lerp_r",
    "ffn.x_k": "channel_mix_lerp_k",
}
_OUTSIDE = {
    "emb": "token_embd",
    "head": "output",
    "ln_out": "output_norm",
    "blocks.0.ln0": "token_embd_norm",
}
_TURNED_6 = ("time_mix_w1", "time_mix_w2", "time_mix_decay_w1", "time_mix_decay_w2")
_RESCALED = ("time_mix_output", "channel_mix_value")


def converted(name, value, version):
    """Name and value in GGUF; None for what is written with others."""
    stem, end = name, "weight"
    if name.endswith((".weight", ".bias")):
        stem, end = name.rsplit(".", 1)
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{end}", value
    _, index, inner = stem.split(".", 2)
    part = inner.removeprefix("att.")
    if inner.startswith("att.x_") or (
        inner.startswith("att.time_maa_") and part[-2] == "_" and part[-1] in "wkvrg"
    ):
        return None
    new = _NAMES.get(inner, f"time_mix_{part}")
    if new in _TURNED_6 if version == "6" else part[0] in "wavg" and part[1:] in "12":
        value = value.swapaxes(-1, -2)
    elif part == "r_k" or value.shape[:2] == (1, 1):
        value = value.reshape(-1)
    if version == "6" and new in _RESCALED:
        value = value / 2 ** int(index)
    return f"blk.{index}.{new}.{end}", value


@pytest.fixture(params=["6", "7"])
def files(request, tmp_path):
    version = request.param
    tensors = state_dict(version)
    torch.save(tensors, tmp_path / "model.pth")
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", f"rwkv{version}")
    writer.add_block_count(2)
    writer.add_wkv_head_size(4)
    if version == "6":
        writer.add_rescale_every_n_layers(1)
    for name, tensor in tensors.items():
        new = converted(name, tensor.numpy(), version)
        if new is not None:
            writer.add_tensor(new[0], np.ascontiguousarray(new[1]))
    letters, stem = ("wkvrg", "time_maa_") if version == "6" else ("rwkvag", "x_")
    for index in range(2):
        parts = [tensors[f"blocks.{index}.att.{stem}{letter}"].numpy() for letter in letters]
        writer.add_tensor(f"blk.{index}.time_mix_lerp_fused.weight", np.stack(parts))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "model.pth", tmp_path / "model.gguf"


def test_its_tensors_and_its_layers_are_those_of_the_file(files):
    original, path = files
    with sk.open_checkpoint(str(original)) as one, sk.open_checkpoint(str(path)) as other:
        expected = one.checkpoint.read(one.checkpoint.tensors)
        found = other.checkpoint.read(other.checkpoint.tensors)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, msg=name)
        assert [layer.kind for layer in other.layers] == [layer.kind for layer in one.layers]
        assert all(layer.runs and layer.in_weights for layer in other.layers)
