"""`inspect` of what no architecture reads, and of bare state dicts; hints that run as printed."""

from __future__ import annotations

import json
import shlex

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import CHECKPOINTS
from tests.support import bare
from tests.support.gguf_files import write_gguf


@pytest.fixture
def unread(tmp_path):
    path = tmp_path / "my model" / "net.pt"
    path.parent.mkdir()
    torch.save({f"layers.{n}.fc.weight": torch.ones(3, n + 1) for n in range(5)}, path)
    return path


def test_what_nothing_reads_is_listed_before_its_error(unread, command):
    result = command("inspect", str(unread))
    assert result.code == 3
    assert "looks like   nothing that is known here" in result.out
    assert "layers.*.fc.weight     5  F32 3x1 3x2 3x3 ..." in result.out
    assert "no architecture here reads net (no config.json says what it is)" in result.err
    assert "try:" not in result.err  # not to the command that has just failed


def test_as_json_it_is_one_document(unread, command):
    result = command("inspect", str(unread), "--json")
    assert result.code == 3
    document = json.loads(result.out)
    assert document["looks_like"] is None
    assert document["tensors"][0]["count"] == 5
    assert document["tensors"][0]["shapes"] == [[3, n + 1] for n in range(5)]
    assert "no architecture" in document["error"]


def test_the_hint_of_analyze_runs_as_printed(unread, command):
    result = command("analyze", str(unread), "--mode", "weights")
    (hint,) = [line for line in result.err.splitlines() if "try:" in line]
    words = shlex.split(hint.partition("try:")[2])
    assert words == ["spectrakit", "inspect", str(unread)]
    assert command(*words[1:]).code == 3


def test_the_line_that_reads_a_bare_state_dict_runs_as_printed(tmp_path, command):
    path = tmp_path / "two models.pt"
    layer = bare.LAYERS["mamba"].tensors
    torch.save({"model": layer, "ema": layer}, path)
    result = command("inspect", str(path))
    assert result.code == 2
    assert "try: --key model" in result.err
    result = command("inspect", str(path), "--key", "ema")
    assert result.code == 0
    assert "looks like mamba, 1 layer, width 8; its 9 tensors:" in result.out
    line = result.out.partition("read it by: ")[2].strip()
    assert "--key ema" in line
    run = command(*shlex.split(line)[1:], "--out", str(tmp_path / "run"), "--no-figures")
    assert run.code == 0, run.err


def test_a_folder_without_a_config_is_read(tmp_path, tiny_mamba_folder, command):
    save_file(load_file(tiny_mamba_folder / "model.safetensors"), tmp_path / "model.safetensors")
    result = command("inspect", str(tmp_path))
    assert result.code == 0
    assert "looks like mamba, 3 layers, width 96" in result.out


def test_a_default_is_not_said_to_be_the_configs(tmp_path, tiny_mamba_folder, command):
    save_file(load_file(tiny_mamba_folder / "model.safetensors"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "hidden_size": 96}')
    result = command("inspect", str(tmp_path))
    assert result.code == 4
    assert "has no num_hidden_layers, its weights hold" in result.err
    assert "says" not in result.err
    assert "looks like   mamba, 3 layers, width 96" in result.out


def test_a_block_without_its_attention_is_no_layer_of_zero_bytes(tmp_path, command):
    config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2,
              "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 16}  # fmt: skip
    tensors = {"model.layers.0.self_attn.q_proj.weight": torch.ones(8, 8)} | {
        f"model.layers.1.ssm.{name}": value for name, value in bare.LAYERS["mamba2"].tensors.items()
    }
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = command("inspect", str(tmp_path))
    assert result.code == 4
    assert "layer 1: there is no model.layers.1.self_attn.* in the weights" in result.err
    assert "looks like   mamba2, 1 layer" in result.out


def test_notes_are_told_once(tmp_path, command):
    """Though what cannot be read is opened again, for its tensors."""
    path = write_gguf(CHECKPOINTS / "tiny-mamba2", tmp_path / "model.gguf")
    result = command("inspect", str(path), "--config", "num_hidden_layers=9")
    assert result.code == 4
    assert result.err.count("GGUF does not say") == 1
