"""Files of both libraries: what they say, what has to be asked for, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from spectrakit_mamba3.examples import (
    CHECKPOINTS,
    HEAVY_TAIL,
    MIMO,
    MIMO_WITH_NORM,
    SOFTPLUS,
    fla_config,
    mamba_ssm_config,
    write_fla,
    write_mamba_ssm,
)

import spectrakit as sk
from spectrakit.errors import MalformedError, UnsupportedError, UsageError

SOFTPLUS_KEYS = {"rope_fraction": 1.0, "is_outproj_norm": True, "use_bias": True}


@pytest.fixture(params=["mamba_ssm", "fla"])
def folder(request, tmp_path):
    """A checkpoint of either library that does not say `a_form`."""
    path = CHECKPOINTS[request.param][0](tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    del config["a_form"]
    (path / "config.json").write_text(json.dumps(config))
    return path


def read(folder, **config):
    with sk.open_checkpoint(str(folder), config=config) as model:
        return model.layers, model.recurrence(0).eigenvalues()


def test_a_form_is_asked_for_by_name(folder):
    with pytest.raises(UsageError, match=r"do not show a_form \(softplus, heavy_tail or") as caught:
        read(folder)
    assert "config={'a_form': 'softplus'}" in caught.value.hint


def test_a_form_that_is_none(folder):
    with pytest.raises(UsageError, match="says a_form = 'relu'"):
        read(folder, a_form="relu")


def test_a_form_decides_what_the_weights_mean(folder):
    forms = ("softplus", "heavy_tail", "positive_floor")
    radii = [read(folder, a_form=form)[1].spectral_radius for form in forms]
    assert bool((radii[1] < radii[0]).all())  # 1 + a and 1 / (1 - a) are above softplus(a)
    assert bool((radii[2] > 1).all())


def test_a_layer_of_several_ranks_with_a_norm_shows_its_a_alone(tmp_path):
    ssm = {"ngroups": 2, "is_mimo": True, "mimo_rank": 3, "is_outproj_norm": True}
    folder = write_mamba_ssm(mamba_ssm_config(ssm), MIMO_WITH_NORM, tmp_path / "model")
    layers, _ = read(folder)
    assert not any(layer.runs for layer in layers)
    assert "no linear recurrence" in layers[0].reason
    run = sk.analyze(str(folder), mode="weights")
    assert [row["status"] for row in run.table("layers").to_pylist()] == ["analysed"] * 2
    with pytest.raises(UnsupportedError, match="layer 0: MIMO with a norm") as caught:
        sk.analyze(str(folder), mode="data")
    assert caught.value.hint == "mode='weights'"


def test_fla_reads_an_embedding_named_as_in_mamba_ssm(tmp_path):
    folder = write_fla(fla_config(**SOFTPLUS_KEYS), SOFTPLUS, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    with sk.open_checkpoint(str(folder)) as model:
        expected = outputs(model)
    tensors["backbone.embedding.weight"] = tensors.pop("backbone.embeddings.weight")
    save_file(tensors, folder / "model.safetensors")
    with sk.open_checkpoint(str(folder)) as model:
        assert torch.equal(outputs(model), expected)


def outputs(model, dtype="float32"):
    """What the last layer gave for some tokens."""
    seen = []
    runnable = model.architecture.load(model.checkpoint, "cpu", dtype)
    tokens = torch.arange(2 * 70).view(2, 70)
    runnable.run(tokens, lambda _, observation: seen.append(observation.outputs))
    return seen[-1]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_half_precision_is_near_single(name, tmp_path):
    with sk.open_checkpoint(str(CHECKPOINTS[name][0](tmp_path / "model"))) as model:
        wide, narrow = outputs(model), outputs(model, "bfloat16")
    assert narrow.dtype == torch.bfloat16
    error = (narrow.float() - wide).square().mean().sqrt() / wide.square().mean().sqrt()
    assert error < 0.1


@pytest.mark.parametrize(
    ("ssm", "message"),
    [
        ({"headdim": 7}, "24 channels in heads of 7, in 1 groups"),
        ({"ngroups": 3}, "24 channels in heads of 6, in 3 groups"),
        ({"rope_fraction": 0.3}, "rope_fraction is 0.3, of a state of 10"),
        ({"d_state": 3}, "rope_fraction is 0.5, of a state of 3"),
        ({"d_state": 9, "is_mimo": True}, "of a state of 9"),
        ({"d_state": 12}, "in_proj.weight has shape"),
        ({"is_mimo": True, "mimo_rank": 2}, "has shape"),
        ({"is_mimo": 1}, "is_mimo is 1, expected true or false"),
        ({"A_floor": "0.1"}, "A_floor is '0.1', expected a number"),
    ],
)
def test_options_that_do_not_fit(ssm, message, tmp_path):
    folder = write_mamba_ssm(mamba_ssm_config({"ngroups": 2}), HEAVY_TAIL, tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(mamba_ssm_config(ssm)))
    with pytest.raises(MalformedError, match=message):
        read(folder)


def test_an_mimo_file_is_not_read_as_one_rank(tmp_path):
    ssm = {"ngroups": 2, "is_mimo": True, "mimo_rank": 3}
    folder = write_mamba_ssm(mamba_ssm_config(ssm), MIMO, tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(mamba_ssm_config({"ngroups": 2})))
    with pytest.raises(MalformedError, match="in_proj.weight has shape"):
        read(folder)
