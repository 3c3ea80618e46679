"""Extracted matrices: they are a working recurrence, in the user's own hands."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import spectrakit as sk
from spectrakit.errors import OutputError, UnsupportedError, UsageError
from spectrakit.extraction import extract, write_safetensors
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions
from tests.support.mamba_ssm_files import write_mamba_ssm

FEW = TokenOptions(batch_size=2, seq_len=20, max_tokens=40)


def extracted(name, layers=None, form="log-decay", **settings):
    with sk.open_checkpoint(name) as model:
        return extract(model, layers, RunSpec(model=name, **settings), form=form).tensors


def test_weights_mode_gives_decay_step_and_feedthrough(tiny_mamba_folder):
    found = extracted("tiny-mamba", [0, 2])
    assert sorted({name.rpartition(".")[0] for name in found}) == ["layers.0", "layers.2"]
    weights = load_file(tiny_mamba_folder / "model.safetensors")
    prefix = "backbone.layers.2.mixer."
    assert torch.equal(found["layers.2.D"], weights[prefix + "D"])
    torch.testing.assert_close(found["layers.2.A"], -weights[prefix + "A_log"].double().exp())
    step = torch.nn.functional.softplus(weights[prefix + "dt_proj.bias"].double())
    torch.testing.assert_close(found["layers.2.step"], step)
    torch.testing.assert_close(found["layers.2.log_decay"], step[:, None] * found["layers.2.A"])


def test_a_bar_is_the_exponential_of_the_log_decay():
    for name in ("tiny-mamba", "tiny-mamba2"):
        log, plain = extracted(name), extracted(name, form="a-bar")
        for layer in range(3):
            torch.testing.assert_close(
                plain[f"layers.{layer}.A_bar"], log[f"layers.{layer}.log_decay"].exp()
            )
            assert f"layers.{layer}.log_decay" not in plain


@pytest.mark.parametrize("name", ["tiny-mamba", "tiny-mamba2"])
def test_data_mode_is_a_recurrence_that_reproduces_the_scan(name):
    """h_t = A_bar h + B_bar u, y = C h + D u, written by hand from the extracted tensors alone."""
    found = extracted(name, [1], mode="data", source=FEW, form="a-bar")
    with sk.open_checkpoint(name) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        seen = {}
        runnable.run(found["tokens"], lambda layer, obs: seen.update({layer.index: obs}))
    inputs, expected = seen[1].inputs, seen[1].recurrence.run(seen[1].inputs)
    a, b, c, d = (found[f"layers.1.{part}"] for part in ("A_bar", "B_bar", "C", "D"))
    state = torch.zeros(*b.shape[:1], *b.shape[2:], inputs.shape[-1])
    for t in range(inputs.shape[1]):
        state = a[:, t, :, :, None] * state + b[:, t, :, :, None] * inputs[:, t, :, None, :]
        y = torch.einsum("bn,bhnp->bhp", c[:, t, 0], state) + d[:, None] * inputs[:, t]
        torch.testing.assert_close(y, expected[:, t], rtol=1e-4, atol=1e-5)


def test_the_tokens_are_there_to_know_what_was_seen():
    found = extracted("tiny-mamba2", [0], mode="data", source=FEW)
    assert found["tokens"].shape == (2, 20)
    assert found["valid"].all()


def test_what_cannot_be_extracted(tiny_mamba2_folder, tmp_path):
    hybrid = write_mamba_ssm(tiny_mamba2_folder, tmp_path / "h", attn_layer_idx=[1])
    with pytest.raises(UnsupportedError, match="layer 1 .attention. cannot be read"):
        extracted(str(hybrid), [1])
    assert {name.split(".")[1] for name in extracted(str(hybrid))} == {"0", "2"}
    with pytest.raises(UsageError, match="no layer 3"):
        extracted("tiny-mamba", [3])
    huge = TokenOptions(batch_size=1, seq_len=10**7, max_tokens=10**7)
    with pytest.raises(UsageError, match="take .* GB"):
        extracted("tiny-mamba", mode="data", source=huge)


def test_the_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"a": torch.arange(6).view(2, 3).T}, {"mode": "nominal"})
    with safe_open(path, "np") as file:
        assert file.metadata() == {"mode": "nominal"}
        np.testing.assert_array_equal(file.get_tensor("a"), [[0, 3], [1, 4], [2, 5]])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_safetensors(path, {"a": torch.zeros(1)}, {"mode": math.pi})
    assert path.read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_safetensors(tmp_path / "file" / "x.safetensors", {"a": torch.zeros(1)}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "x.safetensors"]


def test_the_file_says_in_which_gauge_each_layer_is(tmp_path):
    from typer.testing import CliRunner

    from spectrakit.cli.app import build_app

    for name, gauge in (("tiny-mamba2", "unnormalised"), ("tiny-llama", "dsf")):
        out = tmp_path / f"{name}.safetensors"
        command = ["extract", name, "--mode", "data", "--seq-len", "16", "--out", str(out)]
        assert CliRunner().invoke(build_app(), command).exit_code == 0
        with safe_open(out, "pt") as file:
            assert file.metadata()["gauge"] == gauge
