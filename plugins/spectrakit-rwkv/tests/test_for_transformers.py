"""RWKV-5 and 6 as published for transformers: the project's own model under other names."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import save_file
from spectrakit_rwkv.examples import VOCABULARY, state_dict, write, write_for_transformers

import spectrakit as sk
from spectrakit.architectures.written_out import ForwardPass

TOKENS = torch.arange(12)[None] % VOCABULARY


def hidden_states(path):
    with sk.open_checkpoint(str(path)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        with torch.no_grad():
            return runnable.hidden_states(TOKENS, ForwardPass(runnable))


@pytest.mark.parametrize("version", ["5.0", "5.1", "5.2", "6"])
def test_it_computes_what_the_file_of_the_project_does(version, tmp_path):
    own = hidden_states(write(version, tmp_path / "own"))
    theirs = write_for_transformers(version, tmp_path / "theirs")
    names = [
        re.sub(r"\d+", "N", name) for name in sk.open_checkpoint(str(theirs)).checkpoint.tensors
    ]
    assert "blocks.N.att.time_decay" in names
    torch.testing.assert_close(hidden_states(theirs), own, rtol=0, atol=0)


def test_its_spectrum_in_data_mode_is_that_of_the_file_of_the_project(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("what is written here is read byte by byte " * 4)
    summaries = []
    for path in (write("6", tmp_path / "own"), write_for_transformers("6", tmp_path / "theirs")):
        (path.parent / "tokenizer.json").unlink(missing_ok=True)
        run = sk.analyze(
            str(path), mode="data", text=str(text), tokenizer="bytes", analyses=["spectrum"]
        )
        summaries.append(run.table("spectrum_summary").column("spectral_radius").to_pylist())
    assert summaries[0] == summaries[1]


def test_a_bare_model_without_its_prefix_is_read(tmp_path):
    folder = write_for_transformers("6", tmp_path)
    tensors = {
        name.removeprefix("rwkv."): tensor
        for name, tensor in sk.open_checkpoint(str(folder))
        .checkpoint.read(sk.open_checkpoint(str(folder)).checkpoint.tensors)
        .items()
    }
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "rwkv6"
    assert len(hidden_states(folder)[0]) == TOKENS.shape[1]
    assert len(tensors) == len(state_dict("6"))
