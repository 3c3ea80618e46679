"""S5 and LRU of the packages s5-pytorch and lru-pytorch, whose parameters are complex numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import spectrakit as sk
from spectrakit.errors import MalformedError, UnsupportedError
from tests.support import state_dicts

PREFIX = "stack.{}."


def eigenvalues(model, index=0):
    found = model.recurrence(index).eigenvalues()
    phase = torch.zeros(()) if found.phase is None else found.phase
    values = torch.polar(found.log_modulus.exp(), phase.expand_as(found.log_modulus))
    return values.flatten().numpy()


def assert_same(found, expected):
    """As sets, to the digits of float32."""
    expected = np.asarray(expected)
    assert len(found) == len(expected)
    distance = np.abs(found[:, None] - expected)
    assert distance.min(0).max() < 1e-5
    assert distance.min(1).max() < 1e-5


def ran(model, inputs):
    """The layer's own recurrence on inputs (T, Q)."""
    recurrence = model.recurrence(0)
    return recurrence.run(inputs.double()[None, :, :, None].transpose(2, 3)).real.squeeze()


def s5_steps(p, inputs, rule="zoh"):
    """Token by token, as `S5SSM.forward_rnn` of s5-pytorch has it; and its Lambda_bar."""
    rate, step = p["seq.Lambda"].to(torch.complex128), p["seq.log_step"].double().exp()
    b = torch.view_as_complex(p["seq.B"].double())
    if rule == "zoh":
        bar = (rate * step).exp()
        b_bar = ((bar - 1) / rate)[:, None] * b
    else:
        bar = (1 + step / 2 * rate) / (1 - step / 2 * rate)
        b_bar = (step / (1 - step / 2 * rate))[:, None] * b
    state, outputs = torch.zeros(len(rate), dtype=torch.complex128), []
    for token in inputs.double():
        state = bar * state + b_bar @ token.to(torch.complex128)
        outputs.append((p["seq.C"].to(torch.complex128) @ state).real + p["seq.D"] * token)
    return torch.stack(outputs), bar


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
def test_s5_pytorch_is_the_recurrence_of_its_own_steps(rule):
    torch.manual_seed(0)
    p = state_dicts.s5_pytorch()
    inputs = torch.randn(9, 3)
    outputs, bar = s5_steps(p, inputs, rule)
    config = {} if rule == "zoh" else {"discretization": rule}
    model = sk.from_state_dict(p, config=config)
    assert model.architecture.name == "s5"
    assert_same(eigenvalues(model), bar)
    torch.testing.assert_close(ran(model, inputs), outputs, rtol=1e-6, atol=1e-6)
    told = model.layers[0].reason
    assert (told is None) == (rule == "bilinear")


def test_lru_pytorch_is_the_recurrence_of_its_own_steps():
    torch.manual_seed(0)
    p = state_dicts.lru_pytorch(width=3, outputs=3)
    rate = -p["nu_log"].double().exp() + 1j * p["theta_log"].double().exp()
    gain = p["gamma_log"].double().exp()[:, None] * p["B"].to(torch.complex128)
    inputs = torch.randn(9, 3)
    state, outputs = torch.zeros(4, dtype=torch.complex128), []
    for token in inputs.double():
        state = rate.exp() * state + gain @ token.to(torch.complex128)
        outputs.append((p["C"].to(torch.complex128) @ state).real)
    model = sk.from_state_dict(p)
    assert model.architecture.name == "minimal-lru"
    assert_same(eigenvalues(model), rate.exp())
    torch.testing.assert_close(ran(model, inputs), torch.stack(outputs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [state_dicts.s5_pytorch, state_dicts.lru_pytorch])
@pytest.mark.parametrize("save", [torch.save, save_file])
def test_files_of_complex_parameters_are_read(make, save, tmp_path):
    tensors = state_dicts.layers(make, prefix=PREFIX)
    path = tmp_path / ("net.pt" if save is torch.save else "net.safetensors")
    save(tensors, path)
    with sk.open_checkpoint(str(path)) as model:
        assert [layer.path for layer in model.layers] == sorted(
            {name.rpartition(".")[0] for name in tensors if name.startswith("stack")}
        )
        held = sk.from_state_dict(tensors)
        for index in range(2):
            np.testing.assert_array_equal(eigenvalues(model, index), eigenvalues(held, index))
        run = sk.analyze(model)
    assert run.table("spectrum").num_rows


def test_both_directions_share_their_eigenvalues():
    p = state_dicts.s5_pytorch(directions=2)
    model = sk.from_state_dict(p)
    assert "bidirectional" in model.layers[0].reason
    assert_same(eigenvalues(model), (p["seq.Lambda"] * p["seq.log_step"].exp()).exp())


def test_a_complex_parameter_that_is_real_is_refused():
    real = state_dicts.s5_pytorch() | {"seq.Lambda": torch.ones(4)}
    with pytest.raises(UnsupportedError, match="stored as F32, not as complex numbers"):
        sk.from_state_dict(real).layers  # noqa: B018
    wrong = state_dicts.s5_pytorch() | {"seq.C": torch.ones(3, 5, dtype=torch.complex64)}
    with pytest.raises(MalformedError, match=r"seq\.C"):
        sk.from_state_dict(wrong).layers  # noqa: B018


def test_the_package_s5_pytorch_itself():
    s5 = pytest.importorskip("s5")
    torch.manual_seed(0)
    module = s5.S5(6, 8)
    inputs = torch.randn(7, 6)
    rate, step = module.seq.Lambda, module.seq.log_step.exp()
    bar, _ = module.seq.discretize(rate, module.seq.get_BC_tilde()[0], step)
    saved = io.BytesIO()
    torch.save(module.state_dict(), saved)
    saved.seek(0)
    model = sk.from_state_dict(torch.load(saved))
    assert_same(eigenvalues(model), bar.detach().numpy())
    expected = module.seq(inputs).detach().double()
    torch.testing.assert_close(ran(model, inputs), expected, rtol=1e-4, atol=1e-4)


def test_the_package_lru_pytorch_itself():
    package = pytest.importorskip("LRU_pytorch")
    torch.manual_seed(0)
    module = package.LRU(5, 4, 7)
    inputs = torch.randn(9, 5)
    model = sk.from_state_dict(module.state_dict())
    with torch.no_grad():
        expected = module(inputs) - inputs @ module.D.T
    assert model.layers[0].state_size == 7
    torch.testing.assert_close(ran(model, inputs), expected.double(), rtol=1e-4, atol=1e-4)


def test_the_names_of_a_discretax_model_are_read():
    # As jax.tree_util.keystr writes them, which is what the hint for .eqx files does.
    layers = [".blocks[0].sequence_mixer", ".blocks[10].sequence_mixer"]
    tensors = {
        f"{layer}.{name.removeprefix('seq.')}": tensor.numpy()
        for layer in layers
        for name, tensor in state_dicts.lru().items()
    }
    model = sk.from_state_dict(tensors)
    assert model.architecture.name == "minimal-lru"
    assert [layer.path for layer in model.layers] == layers
    rate = -tensors[f"{layers[1]}.nu_log"].astype(float)
    rate = -np.exp(-rate) + 1j * np.exp(tensors[f"{layers[1]}.theta_log"].astype(float))
    assert_same(eigenvalues(model, 1), np.exp(rate))


def test_a_file_of_equinox_has_no_names_and_the_line_that_gives_them_is_shown(tmp_path):
    path = tmp_path / "model.eqx"
    with path.open("wb") as file:  # as equinox.tree_serialise_leaves does
        np.save(file, np.ones(3, np.float32))
        np.save(file, np.ones((3, 2), np.float32))
    with pytest.raises(UnsupportedError, match="arrays without names") as told:
        sk.open_checkpoint(str(path))
    assert "sk.from_state_dict(" in told.value.hint
