"""Models whose classes are code of their own: their weights are read, and what was read is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

import spectrakit as sk
from spectrakit.errors import MalformedError, UnsupportedError
from tests.support import bare, remote_code
from tests.support.remote_code import HEADS, WIDTH


def log_moduli(model, index):
    """log |lambda| of a layer, ascending."""
    return np.sort(model.recurrence(index).eigenvalues().log_modulus.numpy().flatten())


@pytest.fixture
def opened():
    models = []

    def open_folder(folder):
        models.append(sk.open_checkpoint(str(folder)))
        return models[-1]

    yield open_folder
    for model in models:
        model.close()


@pytest.mark.parametrize("version", [5, 6])
def test_rwkv_for_transformers_has_the_decays_of_its_parameters(version, tmp_path, opened):
    model = opened(remote_code.write_rwkv_decays(version, tmp_path))
    assert model.architecture.name == "rwkv-files"
    assert [layer.kind for layer in model.layers] == [f"rwkv{version}"] * 2
    assert model.unknown_keys == ()
    for index, layer in enumerate(model.layers):
        decay = remote_code.rwkv_decays(version)[f"blocks.{index}.att.time_decay"].double()
        expected = np.sort((-decay.exp()).numpy().flatten())
        np.testing.assert_allclose(log_moduli(model, index), expected, rtol=1e-12)
        assert (layer.heads, layer.state_size) == (HEADS, WIDTH)
    assert sk.analyze(model, mode="weights").table("spectrum").num_rows


def test_a_norm_of_another_width_is_not_taken_for_the_published_one(tmp_path, opened):
    tensors = remote_code.rwkv_decays(6)
    folder = remote_code.write_rwkv_for_transformers(tmp_path, tensors, 6)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("1e-05", "1e-03"))
    assert opened(folder).unknown_keys == ("layer_norm_epsilon",)


def test_one_parameter_under_two_names_is_refused(tmp_path):
    renamed = {
        remote_code.names_for_transformers(name): tensor
        for name, tensor in remote_code.rwkv_decays(6).items()
    }
    renamed["blocks.0.attention.time_decay"] = torch.zeros(1, 1, HEADS * WIDTH)
    remote_code.write_folder(tmp_path, renamed, {"model_type": "rwkv6"})
    with pytest.raises(MalformedError, match="are the same parameter"):
        sk.open_checkpoint(str(tmp_path))


@pytest.mark.parametrize("generation", [1, 2])
def test_mamba_in_llama_has_the_decays_of_its_parameters(generation, tmp_path, opened):
    model = opened(remote_code.write_mamba_in_llama(generation, tmp_path))
    assert model.architecture.name == "mamba-in-llama"
    kind = "mamba" if generation == 1 else "mamba2"
    kinds = [kind, "softmax_attention"] * 2
    assert [layer.kind for layer in model.layers] == kinds
    tensors = remote_code.mamba_in_llama(generation)
    for index in (0, 2):
        inside = f"model.layers.{index}.mamba"
        bias = "dt_proj.bias" if generation == 1 else "dt_bias"
        step = softplus(tensors[f"{inside}.{bias}"].double())
        rate = tensors[f"{inside}.A_log"].double().exp()
        expected = -(step[:, None] * rate if generation == 1 else step * rate)
        np.testing.assert_allclose(
            log_moduli(model, index), np.sort(expected.numpy().flatten()), rtol=1e-12
        )
    if generation == 2:  # a state of 4 x 4 for each of the two heads
        assert model.recurrence(0).eigenvalues().multiplicity == 16
    assert model.unknown_keys == ()
    run = sk.analyze(model)
    rows = run.table("layers").to_pylist()
    assert [row["status"] for row in rows] == ["analysed", "unsupported"] * 2
    with pytest.raises(UnsupportedError, match="whose own code alone runs it"):
        model.load()


def test_a_mamba_of_no_shape_is_refused(tmp_path):
    folder = remote_code.write_mamba_in_llama(2, tmp_path)
    tensors = remote_code.mamba_in_llama(2) | {"model.layers.2.mamba.dt_bias": torch.ones(5)}
    remote_code.save_file(tensors, folder / "model.safetensors")
    with (
        sk.open_checkpoint(str(folder)) as model,
        pytest.raises(MalformedError, match=r"layer 2: .* are of no Mamba"),
    ):
        model.layers  # noqa: B018


def test_the_layers_of_a_model_that_is_not_known_are_read_and_it_is_said(tmp_path, opened):
    model = opened(remote_code.write_unknown_model(tmp_path))
    assert model.architecture.name == "bare-modules"
    (expected,) = bare.LAYERS["mamba"].log_decays
    for layer in model.layers:
        assert layer.reason == (
            "mamba by its parameters' names; model_type 'sashimi_lm' is not known"
        )
        np.testing.assert_allclose(
            log_moduli(model, layer.index), np.sort(expected.numpy().flatten()), rtol=1e-12
        )
    with pytest.raises(UnsupportedError, match="code beside the weights is not run"):
        model.load()


def test_a_whole_mamba_of_an_unknown_class_is_not_run_as_another(tmp_path, opened):
    tensors = bare.LAYERS["mamba"].tensors
    whole = {f"layers.0.mixer.{name}": tensor for name, tensor in tensors.items()}
    whole |= {"layers.0.norm.weight": torch.ones(8), "norm_f.weight": torch.ones(8)}
    whole["embedding.weight"] = torch.ones(7, 8)
    assert sk.from_state_dict(whole).layers[0].runs
    folder = remote_code.write_folder(tmp_path, whole, {"model_type": "own_mamba"})
    assert not opened(folder).layers[0].runs


def test_rules_that_libraries_have_under_one_name_need_the_code_beside_them(tmp_path):
    kind = "gated deltanet of fla"
    own = remote_code.write_unknown_model(tmp_path / "own", kind)
    assert sk.open_checkpoint(str(own)).layers[0].kind == "gated_deltanet"
    fla = remote_code.write_unknown_model(tmp_path / "fla", kind, auto_map=False)
    with pytest.raises(UnsupportedError, match="model_type 'sashimi_lm'"):
        sk.open_checkpoint(str(fla))
