"""Models inside something larger: wrappers, words in front of names, several models in a file."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.checkpoints import unwrapping
from spectrakit.errors import UsageError
from spectrakit.wording import speaking_flags

PREFIXES = [
    "model.",
    "module.",
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "net.encoder.mamba.",
    "base_model.model.",
    "module._orig_mod.model.",
]


@pytest.fixture(scope="module")
def tiny(tiny_mamba_folder):
    state = load_file(tiny_mamba_folder / "model.safetensors")
    return state, json.loads((tiny_mamba_folder / "config.json").read_text())


@pytest.fixture(scope="module")
def eigenvalues(tiny_mamba_folder):
    return decays(sk.open_checkpoint(str(tiny_mamba_folder)))


def decays(model):
    with model:
        return [
            model.recurrence(layer.index).eigenvalues().log_modulus.clone()
            for layer in model.layers
        ]


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_words_in_front_of_every_name(prefix, tiny, tmp_path, eigenvalues):
    state, config = tiny
    save_file(
        {prefix + name: value for name, value in state.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    with sk.open_checkpoint(str(tmp_path)) as model:
        assert model.layers[0].path == "backbone.layers.0.mixer"
        assert_same(decays(model), eigenvalues)


def test_data_mode_runs_what_is_inside(tiny, tmp_path, tiny_mamba_folder):
    state, config = tiny
    torch.save(
        {"state_dict": {f"net.lm.{name}": value for name, value in state.items()} | {
            "net.loss.weight": torch.ones(3)}, "epoch": 1},
        tmp_path / "pytorch_model.bin",
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(tiny_mamba_folder / "tokenizer.json", tmp_path)
    tokens = torch.arange(12)[None] % 60
    places = torch.tensor([[3, 11]])
    with (
        sk.open_checkpoint(str(tmp_path)) as wrapped,
        sk.open_checkpoint(str(tiny_mamba_folder)) as own,
    ):
        assert wrapped.checkpoint.around == "net.lm."
        assert torch.equal(wrapped.load().logits(tokens, places), own.load().logits(tokens, places))


def test_what_is_taken_off_is_said(tiny, caplog):
    state, config = tiny
    tensors = {f"net.{name}": value for name, value in state.items()} | {"step": torch.ones(1)}
    with caplog.at_level(logging.INFO, logger="spectrakit"):
        sk.from_state_dict(tensors, config=config)
    assert "is what is under net.*; 1 tensors besides are not the model's" in caplog.text


@pytest.mark.parametrize(
    ("keys", "form"),
    [
        (("params", "params_ema"), "nested"),
        (("model", "ema_model"), "nested"),
        (("state_dict", "state_dict_ema"), "nested"),
        (("model", "ema_model"), "flat"),
        (("left", "right"), "flat"),  # told apart by the family's names
    ],
)
def test_of_several_models_one_is_chosen(keys, form, tiny, tmp_path, eigenvalues):
    state, config = tiny
    other = {name: value + 1 for name, value in state.items()}
    saved = {keys[0]: other, keys[1]: state}
    if form == "flat":
        saved = {f"{key}.{name}": value for key in keys for name, value in saved[key].items()}
    torch.save({**saved, "step": 3}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with speaking_flags(), pytest.raises(UsageError, match=f"2 models, under {keys[0]}, {keys[1]}"
                                         ) as error:  # fmt: skip
        sk.open_checkpoint(str(tmp_path))
    assert error.value.hint == f"--key {keys[0]}"
    with sk.open_checkpoint(str(tmp_path), key=keys[0]) as model:
        first = model.revision("weights")
        assert not torch.equal(decays(model)[0], eigenvalues[0])
    with sk.open_checkpoint(str(tmp_path), key=keys[1]) as model:
        assert model.revision("weights") != first
        assert_same(decays(model), eigenvalues)


def test_a_run_records_its_key_and_is_done_again_by_it(tiny, tmp_path):
    state, config = tiny
    torch.save({"model": state, "ema": state}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = sk.analyze(str(tmp_path), key="ema", mode="weights")
    assert run.manifest.settings()["key"] == "ema"


def test_a_key_that_is_not_there(tiny):
    state, config = tiny
    with pytest.raises(UsageError, match="no tensors under 'ema', but backbone") as error:
        sk.from_state_dict(state, config=config, key="ema")
    assert error.value.hint == "key='backbone'"


@pytest.mark.parametrize("key", ["params", "weights", "ema_model", "pipeline", "model_state_dict"])
def test_the_one_model_in_a_training_programs_dict(key, tiny, eigenvalues):
    state, config = tiny
    saved = {"step": 1, "optimizers": {"0": {"exp_avg": torch.ones(2)}}, key: state}
    assert_same(decays(sk.from_state_dict(saved, config=config)), eigenvalues)


def test_two_halves_of_a_model_are_not_two_models():
    names = [f"{half}.{n}.weight" for half, n in zip(("net", "model") * 3, range(6), strict=True)]
    assert unwrapping.copies(names) == []
    assert unwrapping.copies(["model.a", "model.b", "ema.a", "ema.b", "step"]) == ["model", "ema"]


def test_names_that_wrappers_alone_tell_apart_stay():
    names = ["_orig_mod.a", "a"]
    assert unwrapping.without_wrappers(names) == {name: name for name in names}
