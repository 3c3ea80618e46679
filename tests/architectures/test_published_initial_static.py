"""Layers of the S4 line before training: their published matrices, at the shapes of a file."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import stats

import spectrakit as sk
from spectrakit.architectures.reading import weights_recurrence
from spectrakit.architectures.untrained import Untrained
from spectrakit.errors import UsageError
from tests.support import state_dicts

#: Every kind of file: its layers, and what their weights do not show.
FILES = {
    "minimal-s4d": (state_dicts.minimal_s4d, {}),
    "s4": (lambda: state_dicts.version_4(low_rank=True), state_dicts.VERSION_4),
    "s4-3": (
        lambda: state_dicts.as_version_3(state_dicts.version_4(low_rank=True)),
        {"real_type": "exp", "bandlimit": None},
    ),
    "s4d": (state_dicts.version_4, state_dicts.VERSION_4 | {"disc": "zoh"}),
    "s4d-3": (
        lambda: state_dicts.as_version_3(state_dicts.version_4()),
        {"real_type": "relu", "bandlimit": None, "disc": "bilinear"},
    ),
    "dss-softmax": (lambda: state_dicts.dss(version="softmax"), {"version": "softmax"}),
    "dss-exp": (state_dicts.dss, {"version": "exp"}),
    "dss-exp-re-im": (lambda: state_dicts.dss(version="exp-re-im"), {}),
    "s5": (state_dicts.s5, state_dicts.S5_OPTIONS),
    "s5-both": (lambda: state_dicts.s5(directions=2), state_dicts.S5_OPTIONS),
    "lru": (state_dicts.lru, {}),
}


def opened(folder, make, config=None, count=1):
    path = folder / "layers.safetensors"
    tensors = state_dicts.layers(make, count)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return sk.open_checkpoint(str(path), config=config)


def recurrence(folder, make, config=None, seed=0):
    """The first layer's, untrained, and its parameters by role in float64."""
    with opened(folder, make, config) as model:
        (layer,) = model.layers
        tensors = Untrained(model, seed).tensors(layer)
        p = {role: tensors[layer.parameters[role]].double() for role in layer.mixer.weights_roles}
        return weights_recurrence(model.checkpoint, layer, tensors), p


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_has_a_control(name, tmp_path):
    make, config = FILES[name]
    with opened(tmp_path, make, config, count=2) as model:
        layer = model.layers[0]
        entries = model.checkpoint.tensors
        first, again, other = (Untrained(model, seed).tensors(layer) for seed in (0, 0, 1))
        assert set(first) == set(layer.weights_tensors)
        for tensor_name, values in first.items():
            assert values.shape == entries[tensor_name].shape
            assert torch.equal(values, again[tensor_name])
        assert any(not torch.equal(values, other[n]) for n, values in first.items())
        run = sk.analyze(model, randomize="all", analyses=["spectrum", "memory"])
    assert run.manifest.mode == "weights"
    assert run.manifest.revision.startswith("random-all-0-")
    assert run.manifest.remarks["initial"][layer.kind]["scheme"] == "published"
    rows = [row for row in run.table("spectrum_summary").to_pylist() if row["head"] is None]
    assert all(row["stable"] for row in rows)
    steps = {tuple(row["timescale_q50"] for row in rows if row["layer"] == n) for n in (0, 1)}
    assert len(steps) == 2  # every layer has its own


@pytest.mark.parametrize(
    ("key", "make", "config"),
    [
        ("step", lambda: state_dicts.minimal_s4d(2000, 2), {}),
        ("step", lambda: state_dicts.version_4(2000, 2), state_dicts.VERSION_4 | {"disc": "zoh"}),
        ("log_dt", lambda: state_dicts.dss(2000, 2), {"version": "exp"}),
        ("log_step", lambda: state_dicts.s5(2, 2000), state_dicts.S5_OPTIONS),
    ],
)
@pytest.mark.parametrize("bounds", [{}, {"dt_min": 0.01, "dt_max": 0.5}])
def test_steps_are_log_uniform(key, make, config, bounds, tmp_path):
    _, p = recurrence(tmp_path, make, {**config, **bounds})
    low, high = (math.log(step) for step in bounds.values() or (1e-3, 0.1))
    found = p[key].reshape(len(p[key]), -1)
    assert bool((found == found[:, :1]).all())  # DSS's two start the same
    assert low <= float(found.min()) <= float(found.max()) <= high
    assert stats.kstest(found[:, 0], stats.uniform(low, high - low).cdf).pvalue > 0.01


def legs(size):
    """HiPPO-LegS as its paper has it."""
    a = np.zeros((size, size))
    for n in range(size):
        for k in range(n):
            a[n, k] = -math.sqrt((2 * n + 1) * (2 * k + 1))
        a[n, n] = -(n + 1)
    return a, np.sqrt(2 * np.arange(size) + 1)


def test_s4_is_hippo_legs_in_other_coordinates(tmp_path):
    """By what coordinates leave alone: p^T A^k p and b^T A^k b, and the eigenvalues."""
    states = 4
    _, p = recurrence(
        tmp_path, lambda: state_dicts.version_4(states=states, low_rank=True), state_dicts.VERSION_4
    )
    half = torch.complex(-p["A_real"][0].exp(), -p["A_imag"][0]).numpy()
    low_rank, b = (torch.view_as_complex(p[role][0, 0]).numpy() for role in "PB")
    whole = np.concatenate([half, half.conj()])
    low_rank, b = (np.concatenate([v, v.conj()]) for v in (low_rank, b))
    a = np.diag(whole) - np.outer(low_rank, low_rank.conj())
    expected, column = legs(2 * states)
    for k in range(5):
        power, other = (np.linalg.matrix_power(matrix, k) for matrix in (a, expected))
        size = np.abs(column) @ np.abs(other) @ np.abs(column)
        assert b.conj() @ power @ b == pytest.approx(column @ other @ column, abs=1e-5 * size)
    eigenvalues = np.sort(np.linalg.eigvals(a).real)
    np.testing.assert_allclose(eigenvalues, -np.arange(2 * states, 0, -1), rtol=1e-2)
    assert p["kernel_length"] == 0


def test_s4s_slowest_modes_after_discretisation(tmp_path):
    found, p = recurrence(
        tmp_path, lambda: state_dicts.version_4(states=4, low_rank=True), state_dicts.VERSION_4
    )
    step = p["step"].exp()[0, 0].item()
    slowest = found.eigenvalues().log_modulus[0].max().exp().item()
    assert slowest == pytest.approx((1 - step / 2) / (1 + step / 2), rel=1e-5)


def test_a_stored_length_does_not_change_what_is_read_out(tmp_path):
    """Version 2: l_kernel is in the config, and the file has C (I - A_bar^L)."""

    def make():
        tensors = state_dicts.as_version_3(state_dicts.version_4(low_rank=True))
        del tensors["kernel.kernel.L"]
        tensors["kernel.kernel.log_w_real"] = tensors.pop("kernel.kernel.inv_w_real")
        return tensors

    short, p = recurrence(tmp_path, make, {"l_kernel": 0})
    long, q = recurrence(tmp_path, make, {"l_kernel": 16})
    assert short.output_map.weight.abs().min() > 0
    assert not torch.equal(p["C"], q["C"])
    torch.testing.assert_close(
        long.output_map.weight, short.output_map.weight, rtol=1e-4, atol=1e-4
    )


def frequencies(init, states):
    n = np.arange(states)
    size = 2 * states
    return {
        "diag-lin": (0.5, np.pi * n),
        "diag-inv": (0.5, size / np.pi * (size / (2 * n + 1) - 1)),
        "diag-quad": (0.5, (2 * n + 1) ** 2 / np.pi),
        "diag-real": (n + 1.0, 0 * n),
    }[init]


@pytest.mark.parametrize("init", ["diag-lin", "diag-inv", "diag-quad", "diag-real"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"real_transform": "softplus", "dt_transform": "softplus"},
        {"real_transform": "none", "imag_transform": "relu", "dt_fast": True},
    ],
)
def test_s4ds_eigenvalues(init, options, tmp_path):
    config = state_dicts.VERSION_4 | {"disc": "zoh", "init": init} | options
    found, _ = recurrence(tmp_path, lambda: state_dicts.version_4(states=5), config, seed=2)
    decay, frequency = frequencies(init, 5)
    generator = found.generator[0, :5].numpy()
    np.testing.assert_allclose(-generator.real, np.broadcast_to(decay, 5), rtol=1e-5, atol=2e-4)
    np.testing.assert_allclose(np.abs(generator.imag), frequency, rtol=1e-5, atol=2e-4)
    step = found.step.flatten()[0].item()
    assert 1e-3 * 0.99 <= step <= 0.1 * 1.01
    decays = found.eigenvalues().log_modulus[0, :5]
    np.testing.assert_allclose(decays, step * generator.real, rtol=1e-9)


def test_s4ds_other_beginnings(tmp_path):
    config = state_dicts.VERSION_4 | {"disc": "zoh"}
    found, p = recurrence(
        tmp_path, lambda: state_dicts.version_4(states=5), config | {"init": "diag"}
    )
    for channel in range(4):  # two systems, tiled over the channels
        _, frequency = frequencies(("diag-inv", "diag-lin")[channel % 2], 5)
        imaginary = found.generator[channel, :5].imag.abs().numpy()
        # The library keeps what it stores 1e-4 away from zero.
        np.testing.assert_allclose(imaginary, frequency, rtol=1e-5, atol=2e-4)
    assert set(p["B"].flatten().tolist()) == {0.0, 1.0}
    found, _ = recurrence(
        tmp_path, lambda: state_dicts.version_4(states=5), config | {"measure": "legs"}
    )
    a, column = legs(10)
    skew = np.linalg.eigvals(a + np.outer(column, column) / 2 + np.eye(10) / 2).imag
    np.testing.assert_allclose(
        np.sort(found.generator[0].imag.numpy()), np.sort(skew), rtol=1e-5, atol=1e-4
    )
    np.testing.assert_allclose(found.generator[0].real.numpy(), -0.5, rtol=1e-6)


def test_the_minimal_s4d_is_as_its_file_draws_it(tmp_path):
    _, p = recurrence(tmp_path, lambda: state_dicts.minimal_s4d(500, 4))
    torch.testing.assert_close(p["A_real"].exp(), torch.full((500, 4), 0.5).double())
    expected = math.pi * torch.arange(4).double().expand(500, 4)
    torch.testing.assert_close(p["A_imag"], expected, rtol=1e-6, atol=0)
    assert float(p["C"].square().sum(-1).mean()) == pytest.approx(1, rel=0.1)
    assert float(p["D"].square().mean()) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("name", ["dss-softmax", "dss-exp", "dss-exp-re-im"])
def test_dsss_eigenvalues_are_those_of_the_skew_hippo(name, tmp_path):
    make, config = FILES[name]
    found, _ = recurrence(tmp_path, make, config)
    x = np.sqrt(2 * np.arange(8) + 1)
    hippo = np.tril(np.outer(x, x), -1)
    expected = np.sort(np.linalg.eigvals((hippo - hippo.T) / 2).imag)[::-1][:4]
    np.testing.assert_allclose(found.generator[0].imag.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(found.generator[0].real.numpy(), -0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("states", "config", "blocks"),
    [(4, {}, 1), (16, {}, 8), (4, {"blocks": 2}, 2), (6, {"conj_sym": False, "blocks": 3}, 3)],
)
def test_s5_is_hippos_normal_part_in_blocks(states, config, blocks, tmp_path):
    config = {**state_dicts.S5_OPTIONS, **config}
    _, p = recurrence(tmp_path, lambda: state_dicts.s5(width=400, states=states), config)
    size = states * (2 if config["conj_sym"] else 1) // blocks
    a, column = legs(size)
    frequency = np.sort(np.linalg.eigvals(a + np.outer(column, column) / 2 + np.eye(size) / 2).imag)
    expected = np.tile(frequency[: states // blocks], blocks)
    np.testing.assert_allclose(p["Lambda_im"], expected, rtol=1e-5, atol=1e-5)
    assert set(p["Lambda_re"].tolist()) == {-0.5}
    whole = size * blocks
    for role, factor in (("B", 1), ("C", 2)):  # C' is complex: both parts have that variance
        square = p[role].square().sum(-1).mean().item() * whole
        assert square == pytest.approx(factor, rel=0.1)


def test_s5s_input_and_output_are_real_before_the_change_of_coordinates(tmp_path):
    """V B~ is real where all of V is there: no conjugates, one block."""
    config = {**state_dicts.S5_OPTIONS, "conj_sym": False, "blocks": 1}
    _, p = recurrence(tmp_path, lambda: state_dicts.s5(states=6), config)
    a, column = legs(6)
    skew = a + np.outer(column, column) / 2 + np.eye(6) / 2
    frequency, vectors = np.linalg.eigh(-1j * skew)
    projected = vectors.conj().T @ column
    vectors = vectors * (projected / np.abs(projected))
    np.testing.assert_allclose(frequency, p["Lambda_im"], rtol=1e-5)
    assert np.abs((vectors @ torch.view_as_complex(p["B"]).numpy()).imag).max() < 1e-6


@pytest.mark.parametrize(
    ("config", "low", "high", "phase"),
    [
        ({}, 0, 1, 6.28),
        ({"r_min": 0.9, "r_max": 0.999, "max_phase": 0.5}, 0.9, 0.999, 0.5),
    ],
)
def test_lrus_ring(config, low, high, phase, tmp_path):
    _, p = recurrence(tmp_path, lambda: state_dicts.lru(width=20, states=3000), config)
    square = torch.exp(-2 * p["nu_log"].exp())
    law = stats.uniform(low**2, high**2 - low**2)
    assert stats.kstest(square, law.cdf).pvalue > 0.01
    assert stats.kstest(p["theta_log"].exp(), stats.uniform(0, phase).cdf).pvalue > 0.01
    torch.testing.assert_close(p["gamma_log"].exp(), (1 - square).sqrt(), rtol=1e-4, atol=1e-6)
    assert float(p["B_re"].std()) == pytest.approx(40**-0.5, rel=0.02)
    assert float(p["C_im"].std()) == pytest.approx(3000**-0.5, rel=0.02)


@pytest.mark.parametrize(
    ("name", "config", "hint"),
    [
        ("s4", {"init": "fout"}, "init is legs"),
        ("s4d", {"init": "diag-inv2"}, "init is diag-lin or diag-inv or diag-quad"),
        ("s5", {"blocks": 3}, "config={'blocks': 1}"),
        ("lru", {"r_min": 2.0}, "config={'r_min': 0.9"),
    ],
)
def test_beginnings_that_are_not_known_are_refused(name, config, hint, tmp_path):
    make, own = FILES[name]
    with (
        opened(tmp_path, make, {**own, **config}) as model,
        pytest.raises(UsageError) as caught,
    ):
        sk.analyze(model, randomize="all")
    assert caught.value.hint.startswith(hint)


def test_what_a_band_limit_takes_out_is_drawn_as_well(tmp_path):
    """It is of the layer, not of its parameters."""
    make, config = FILES["s4d"]
    with opened(tmp_path, make, config | {"bandlimit": 1e-9}) as model:
        (layer,) = model.layers
        tensors = Untrained(model, 0).tensors(layer)
        assert not weights_recurrence(model.checkpoint, layer, tensors).output_map.weight.any()
        free = replace(layer.mixer.parameters, bandlimit=None)
        p = {role: tensors[name] for role, name in layer.parameters.items()}
        assert free.output(p).abs().min() > 0
