"""Models that cannot be run as asked: one line that says why, and what to try."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.errors import AnalysisError, MalformedError, UnsupportedError, UsageError
from spectrakit.token_options import TokenOptions
from tests.families import FAMILIES
from tests.families.base import Family, observe

BY_NAME = {str(family): family for family in FAMILIES}
GPT2 = Family("gpt2", (), {"n_embd": 32, "n_layer": 2, "n_head": 4})


@pytest.mark.parametrize(
    ("family", "key", "limit"),
    [
        (Family("gpt2", (), {**GPT2.config, "n_positions": 24}), "max_position_embeddings", 24),
        (Family("mpt", (), {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 24}),
         "max_seq_len", 24),
    ],
    ids=lambda value: str(value),
)  # fmt: skip
def test_sequences_longer_than_the_model_takes(family, key, limit, tmp_path):
    with sk.open_checkpoint(str(family.write(tmp_path / "model"))) as model:
        runnable = model.load("cpu")
        with pytest.raises(UsageError, match=rf"{limit} tokens at most \({key}\)") as caught:
            runnable.run(torch.zeros(1, limit + 1, dtype=torch.long), lambda *_: None)
        assert caught.value.hint == f"seq_len={limit}"
        runnable.run(torch.full((1, limit), 5), lambda *_: None)


def test_a_model_that_fails_in_half_precision(tmp_path):
    family = BY_NAME["xlstm"]
    with sk.open_checkpoint(str(family.write(tmp_path / "model"))) as model:
        runnable = model.load("cpu", "bfloat16")
        with pytest.raises(UsageError, match="fails in torch.bfloat16") as caught:
            runnable.run(family.token_ids(), lambda *_: None)
    assert caught.value.hint == "dtype='float32'"


@pytest.mark.parametrize("change", [{"n_head": 5}, {"n_positions": "many"}], ids=str)
def test_a_config_that_transformers_cannot_build(change, tmp_path):
    folder = GPT2.write(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with sk.open_checkpoint(str(folder)) as model, pytest.raises(MalformedError):
        model.load("cpu")


def test_a_scan_whose_arguments_have_other_names(tiny_mamba_folder, monkeypatch):
    import transformers.models.mamba.modeling_mamba as modeling

    scan = modeling.mamba_selective_scan

    def renamed(*everything, **named):
        return scan(*everything, **named)

    monkeypatch.setattr(modeling, "mamba_selective_scan", renamed)
    with sk.open_checkpoint(str(tiny_mamba_folder)) as model:
        runnable = model.load("cpu")
        with pytest.raises(UnsupportedError, match="have no argument 'dt'") as caught:
            runnable.run(torch.zeros(1, 4, dtype=torch.long), lambda *_: None)
    assert "transformers>=5.16,<6" in caught.value.hint


@pytest.mark.parametrize("analysis", ["spectrum", "lyapunov", "kernel"])
@pytest.mark.parametrize("name", ["llama", "kimi_linear", "qwen3_next", "rwkv"])
def test_weights_that_are_not_numbers(name, analysis, tmp_path):
    family = BY_NAME[name]
    folder = family.write(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    for key in weights:
        if "embed" in key:
            weights[key][:] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    np.save(tmp_path / "ids.npy", family.token_ids().numpy())
    source = TokenOptions(tokens=tmp_path / "ids.npy", seq_len=family.tokens)
    with sk.open_checkpoint(str(folder)) as model:
        if name == "rwkv" and analysis != "kernel":
            sk.analyze(model, analyses=analysis, mode="data", source=source)  # A is a parameter
            return
        with pytest.raises((AnalysisError, MalformedError)) as caught:
            sk.analyze(model, analyses=analysis, mode="data", source=source)
    assert "layer 0" in str(caught.value)


@pytest.mark.parametrize("name", ["codegen", "openai-gpt", "gpt2", "bloom"])
def test_the_first_token_after_padding_is_a_start(name, tmp_path):
    family = BY_NAME[name]
    valid = torch.ones(2, family.tokens, dtype=torch.bool)
    valid[0, :7] = False
    with sk.open_checkpoint(str(family.write(tmp_path / "model"))) as model:
        for _, observation in observe(model, family.token_ids(), valid):
            starts = observation.recurrence.starts
            assert starts[0, 7]
            assert starts[1].nonzero().tolist() == [[0]]
            inside = observation.recurrence.eigenvalues().log_modulus[0, 8:]
            assert inside.abs().max() < 100


def test_too_little_memory_is_no_fault_of_half_precision(tiny_mamba2_folder):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with sk.open_checkpoint(str(tiny_mamba2_folder)) as model:
        runnable = model.load("cpu", "bfloat16")
        with pytest.raises(torch.OutOfMemoryError):
            runnable.run(torch.zeros(1, 4, dtype=torch.long), fail)
