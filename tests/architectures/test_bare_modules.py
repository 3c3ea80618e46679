"""Layers in anyone's own state dicts, recognised by names and shapes: every A by its formula."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import spectrakit as sk
from spectrakit.errors import UnsupportedError
from tests.support import bare, state_dicts

PREFIXES = ["", "layers.0.mamba.", "module.stages.1.blocks.0.op."]


def log_moduli(model, index=0):
    """log |lambda| of a layer, ascending."""
    return np.sort(model.recurrence(index).eigenvalues().log_modulus.numpy().flatten())


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("kind", bare.LAYERS)
def test_a_layer_under_any_name_has_the_eigenvalues_of_its_formula(kind, prefix):
    layer = bare.LAYERS[kind]
    tensors = {prefix + name: value for name, value in layer.tensors.items()}
    beside = {"stem.weight": torch.ones(3, 3), "head.bias": torch.ones(5)}
    with sk.from_state_dict({"epoch": 3, "state_dict": tensors | beside}) as model:
        assert model.architecture.name == "bare-modules"
        assert [each.kind for each in model.layers] == [layer.kind] * len(layer.log_decays)
        for each, wanted in zip(model.layers, layer.log_decays, strict=True):
            distinct = np.unique(log_moduli(model, each.index))
            np.testing.assert_allclose(distinct, np.unique(wanted.numpy()), rtol=1e-12)
            assert each.state_size == layer.state
            assert not each.runs
        with pytest.raises(UnsupportedError, match="is a bare state dict, and"):
            model.load()


def test_layers_stand_in_the_order_of_their_numbers():
    tensors = {
        f"blocks.{number}.mixer.{name}": value
        for number in (10, 9, 0)
        for name, value in bare.LAYERS["mamba"].tensors.items()
    }
    paths = [layer.path for layer in sk.from_state_dict(tensors).layers]
    assert paths == ["blocks.0.mixer", "blocks.9.mixer", "blocks.10.mixer"]


def test_kinds_may_stand_side_by_side():
    tensors = {
        f"{kind}.{name}": value
        for kind in ("mamba", "mamba2", "rwkv6")
        for name, value in bare.LAYERS[kind].tensors.items()
    }
    kinds = {layer.path: layer.kind for layer in sk.from_state_dict(tensors).layers}
    assert kinds == {"mamba": "mamba", "mamba2": "mamba2", "rwkv6": "rwkv6"}


def test_a_layer_without_its_step_is_listed_with_the_reason():
    tensors = dict(bare.LAYERS["mamba"].tensors)
    whole = {f"a.{name}": value for name, value in tensors.items()}
    del tensors["dt_proj.bias"]
    lacking = {f"b.{name}": value for name, value in tensors.items()}
    first, second = sk.from_state_dict(whole | lacking).layers
    assert first.reason is None
    assert second.reason == "A_log without a dt_proj.bias of as many channels"
    assert not second.in_weights
    with pytest.raises(UnsupportedError, match="no architecture here reads"):
        sk.from_state_dict(lacking)


def test_the_nonlinear_layers_of_xlstm_are_listed():
    tensors = {
        f"blocks.0.mlstm_cell.{name}": value
        for name, value in bare.LAYERS["mlstm of xlstm"].tensors.items()
    } | {"blocks.1.slstm_cell._recurrent_kernel_": torch.ones(4, 4, 4)}
    first, second = sk.from_state_dict(tensors).layers
    assert (first.kind, second.kind) == ("mlstm", "slstm")
    assert "nonlinearity" in second.reason


def test_a_file_of_the_s4_line_and_others_lists_both():
    """In the order of their names; each reads as it does alone."""
    mamba = bare.LAYERS["mamba"]
    own = {f"blocks.{n}.{name}": value for n in (0, 10) for name, value in mamba.tensors.items()}
    static = state_dicts.layers(state_dicts.minimal_s4d, 2, "blocks.{}1.s4d.")
    model = sk.from_state_dict(own | static)
    assert [layer.kind for layer in model.layers] == ["mamba", "s4d", "mamba", "s4d"]
    assert [layer.index for layer in model.layers] == [0, 1, 2, 3]
    alone = sk.from_state_dict(static)
    for mixed, single in ((1, 0), (3, 1)):
        assert model.layers[mixed].path == alone.layers[single].path
        found, wanted = model.recurrence(mixed), alone.recurrence(single)
        assert torch.equal(found.eigenvalues().log_modulus, wanted.eigenvalues().log_modulus)
    first, last = (model.recurrence(index).eigenvalues().log_modulus for index in (0, 2))
    assert torch.equal(first, last)
    assert sk.analyze(model, mode="weights").table("layers").num_rows == 4


def test_what_the_weights_do_not_show_may_be_given():
    tensors = bare.LAYERS["mamba2"].tensors
    one = sk.from_state_dict(tensors)
    two = sk.from_state_dict(tensors, config={"n_groups": 2, "dt_limit": [0.5, 1.0]})
    assert "n_groups is 1, which the weights do not say" in one.layers[0].reason
    assert "no dt_limit is taken: the weights do not say" in one.layers[0].reason
    assert two.layers[0].reason is None
    assert two.layers[0].state_size == one.layers[0].state_size // 2
    rate = tensors["A_log"].double().exp()
    step = torch.nn.functional.softplus(tensors["dt_bias"].double()).clamp(0.5, 1.0)
    np.testing.assert_allclose(
        np.unique(log_moduli(two)), np.unique((-step * rate).numpy()), rtol=1e-12
    )


def test_parameters_that_are_no_floats_are_refused():
    tensors = {name: value.to(torch.int8) for name, value in bare.LAYERS["mamba"].tensors.items()}
    model = sk.from_state_dict(tensors)
    with pytest.raises(UnsupportedError, match="stored as I8, not as floats"):
        _ = model.layers


#: What other libraries call the tensors of a language model of Mamba: replacements in order.
NAMINGS = {
    "without backbone": [("backbone.", "")],
    "mamba_ssm": [("backbone.embeddings", "backbone.embedding")],
    "mambapy": [
        ("backbone.embeddings", "embedding"),
        ("backbone.layers", "mamba.layers"),
        ("backbone.", ""),
    ],
    "mamba-minimal in Lightning": [
        ("backbone.embeddings", "model.embedding"),
        ("backbone.", "model."),
    ],
    "transformers": [],
}


def renamed(name, naming):
    for old, new in NAMINGS[naming]:
        name = name.replace(old, new)
    return name


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_whole_language_model_runs_without_a_config(naming, tiny_mamba_folder):
    state = load_file(tiny_mamba_folder / "model.safetensors")
    tensors = {renamed(name, naming): value for name, value in state.items()}
    tokens, places = torch.arange(40)[None] % 60, torch.tensor([[0, 39]])
    with (
        sk.from_state_dict(tensors) as bare_one,
        sk.open_checkpoint(str(tiny_mamba_folder)) as published,
    ):
        assert all(layer.runs for layer in bare_one.layers)
        for index in range(len(published.layers)):
            assert np.array_equal(log_moduli(bare_one, index), log_moduli(published, index))
        found = bare_one.load().logits(tokens, places)
        assert torch.equal(found, published.load().logits(tokens, places))


def test_mamba_2_runs_when_its_groups_are_given(tiny_mamba2_folder):
    config = json.loads((tiny_mamba2_folder / "config.json").read_text())
    state = load_file(tiny_mamba2_folder / "model.safetensors")
    with pytest.raises(UnsupportedError, match=r"groups \(n_groups\) is not in the weights"):
        sk.from_state_dict(state).load()
    tokens, places = torch.arange(40)[None] % 60, torch.tensor([[0, 39]])
    with sk.from_state_dict(state, config={"n_groups": config["n_groups"]}) as bare_one:
        found = bare_one.load().logits(tokens, places)
    with sk.open_checkpoint(str(tiny_mamba2_folder)) as published:
        assert torch.equal(found, published.load().logits(tokens, places))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.pop("backbone.norm_f.weight"), "no last norm of a language model"),
        (lambda t: t.update(extra=torch.ones(2)), "it has extra, which is no part"),
        (lambda t: t.update({"lm_head.weight": torch.ones(5, 96)}), "do not fit each other"),
        (lambda t: t.pop("backbone.layers.1.norm.weight"), "a norm and a mixer each"),
    ],
)
def test_what_is_missing_for_tokens_is_said(change, why, tiny_mamba_folder):
    state = load_file(tiny_mamba_folder / "model.safetensors")
    change(state)
    with sk.from_state_dict(state) as model:
        assert model.recurrence(0).mode == "nominal"
        with pytest.raises(UnsupportedError, match=why):
            model.load()


@pytest.mark.parametrize("prefix", ["", "model.", "net.rwkv."])
def test_rwkv_files_under_any_prefix(prefix):
    tensors = {
        f"{prefix}blocks.{number}.att.{name}": value
        for number in range(2)
        for name, value in bare.LAYERS["rwkv6"].tensors.items()
    }
    with sk.from_state_dict(tensors) as model:
        assert model.architecture.name == "rwkv-files"
        assert [layer.path for layer in model.layers] == ["blocks.0.att", "blocks.1.att"]
        assert model.checkpoint.around == prefix
        (wanted,) = bare.LAYERS["rwkv6"].log_decays
        np.testing.assert_allclose(np.unique(log_moduli(model)), np.unique(wanted), rtol=1e-12)
