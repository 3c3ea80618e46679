"""S4: the recurrence against the truncated generating function that trains its kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import S4
from spectrakit.mixers.s4_parameters import S4Parameters
from tests.mixers.test_mamba import assert_within
from tests.mixers.test_s4d import tiled
from tests.support.convolution import as_complex, convolved


@st.composite
def layers(draw):
    systems, states, rank = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 2)),
    )
    channels = systems * draw(st.integers(1, 2))
    shapes = {
        "A_real": (systems, states),
        "A_imag": (systems, states),
        "step": draw(st.sampled_from([(channels,), (channels, 1)])),
        "B": (1, systems, states, 2),
        "C": (1, channels, states, 2),
        "P": (rank, systems, states, 2),
        "D": (1, channels),
    }
    return S4Parameters(shapes, sign=draw(st.sampled_from([-1, 1])))


def random_parameters(stored, seed, length):
    torch.manual_seed(seed)
    p = {role: torch.randn(shape) for role, shape in stored.stored_shapes.items()}
    p["A_real"] = torch.rand_like(p["A_real"]) * 2 - 1.5
    p["A_imag"] = torch.rand_like(p["A_imag"]) * 10
    p["step"] = torch.rand_like(p["step"]) * 3 - 4
    p["kernel_length"] = torch.tensor(length)
    return p


def conjugated(half):
    return np.concatenate([half, half.conj()], -1)


def dense(stored, p):
    """A (H, N, N), Delta (H,), B and C~ (H, N), in numpy."""
    values = {role: value.double().numpy() for role, value in p.items()}
    channels, systems = stored.channels, stored.systems
    diagonal = conjugated(-np.exp(values["A_real"]) + stored.sign * 1j * values["A_imag"])
    low_rank = conjugated(as_complex(values["P"]))
    a = np.stack([np.diag(row) for row in diagonal])
    for column in low_rank:
        a = a - column[:, :, None] * column[:, None, :].conj()
    b = conjugated(as_complex(values["B"]).reshape(systems, -1))
    c = conjugated(as_complex(values["C"]).reshape(channels, -1))
    return tiled(a, channels), np.exp(values["step"]).reshape(-1), tiled(b, channels), c


def kernel_by_generating_function(stored, p, length):
    """K_l, l < L, from its values at the L-th roots of unity: S4, lemma C.3, with C~ as stored.

    L is odd, so that -1 is none of them.
    """
    a, step, b, truncated = dense(stored, p)
    roots = np.exp(-2j * np.pi * np.arange(length) / length)
    identity = np.eye(a.shape[-1])
    values = np.empty((len(a), length), dtype=complex)
    for k, root in enumerate(roots):
        node = 2 / step * (1 - root) / (1 + root)
        resolved = np.linalg.solve(node[:, None, None] * identity - a, b[..., None])[..., 0]
        values[:, k] = 2 / (1 + root) * (truncated * resolved).sum(-1)
    kernel = np.fft.ifft(values)
    np.testing.assert_allclose(kernel.imag, 0, atol=1e-8 * np.abs(kernel).max())
    return kernel.real


def kernel_by_powers(stored, p, tokens):
    """C A_bar^l B_bar with the bilinear rule written out."""
    a, step, b, c = dense(stored, p)
    half, identity = step[:, None, None] / 2 * a, np.eye(a.shape[-1])
    transition = np.linalg.solve(identity - half, identity + half)
    state = np.linalg.solve(identity - half, (step[:, None] * b)[..., None])
    kernel = []
    for _ in range(tokens):
        kernel.append((c * state[..., 0]).sum(-1).real)
        state = transition @ state
    return np.stack(kernel, -1)


def run_and_expect(stored, p, kernel, tolerance):
    recurrence = S4(stored).from_weights(p)
    inputs = torch.randn(2, kernel.shape[1], stored.channels, 1, dtype=torch.float64)
    expected = convolved(kernel, inputs) + p["D"].double().reshape(-1, 1) * inputs
    assert_within(recurrence.run(inputs), expected, tolerance)


@given(stored=layers(), half=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_recurrence_is_the_convolution_with_the_truncated_kernel(stored, half, seed):
    length = 2 * half + 1
    p = random_parameters(stored, seed, length)
    run_and_expect(stored, p, kernel_by_generating_function(stored, p, length), 1e-9)


@given(stored=layers(), tokens=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_before_the_first_kernel_what_is_stored_is_c(stored, tokens, seed):
    p = random_parameters(stored, seed, 0)
    run_and_expect(stored, p, kernel_by_powers(stored, p, tokens), 1e-11)


def test_a_length_that_is_not_stored_may_be_given():
    shapes = {"A_real": (1, 3), "A_imag": (1, 3), "step": (2,), "B": (1, 1, 3, 2)}
    shapes |= {"C": (1, 2, 3, 2), "P": (1, 1, 3, 2), "D": (1, 2)}
    stored = S4Parameters(shapes, sign=1)
    p = random_parameters(stored, 1, 15)
    stored_length = S4(stored).from_weights(p)
    del p["kernel_length"]
    given_length = S4(stored, kernel_length=15)
    assert "kernel_length" not in given_length.weights_roles
    found = given_length.from_weights(p).output_map.weight
    assert torch.equal(found, stored_length.output_map.weight)
    ignored = S4(stored, kernel_length=0).from_weights(p).output_map.weight
    assert not torch.allclose(found, ignored)


def test_several_outputs_leave_the_spectrum():
    shapes = {"A_real": (1, 2), "A_imag": (1, 2), "step": (3, 1), "B": (1, 1, 2, 2)}
    stored = S4Parameters(shapes | {"C": (2, 3, 2, 2), "P": (1, 1, 2, 2), "D": (1, 3)})
    recurrence = S4(stored).from_weights(random_parameters(stored, 0, 8))
    assert recurrence.eigenvalues().log_modulus.shape == (3, 4)
    assert (recurrence.input_map, recurrence.output_map, recurrence.feedthrough) == (None,) * 3


@given(stored=layers(), seed=st.integers(0, 2**16))
def test_eigenvalues_are_those_of_the_matrices(stored, seed):
    p = random_parameters(stored, seed, 0)
    a, step, *_ = dense(stored, p)
    recurrence = S4(stored).from_weights(p)
    found, bound = recurrence.eigenvalues().values, recurrence.eigenvalues().error_bound
    generator = recurrence.continuous_eigenvalues().values
    assert bound.shape == found.shape == generator.shape == (stored.channels, stored.state_size)
    for h in range(stored.channels):
        half, identity = step[h] / 2 * a[h], np.eye(a.shape[-1])
        transition = np.linalg.solve(identity - half, identity + half)
        for values, matrix in ((found[h], transition), (generator[h], a[h])):
            exact = np.linalg.eigvals(matrix)
            gaps = np.abs(values.numpy()[:, None] - exact[None, :])
            assert max(gaps.min(0).max(), gaps.min(1).max()) < 1e-6 * np.abs(exact).max()


def test_the_spectrum_does_without_the_read_out(monkeypatch):
    def asked(*_):
        raise AssertionError("C was asked for")

    stored = S4Parameters({
        "A_real": (1, 2), "A_imag": (1, 2), "step": (3,),
        "B": (1, 1, 2, 2), "C": (1, 3, 2, 2), "P": (1, 1, 2, 2), "D": (1, 3),
    })  # fmt: skip
    monkeypatch.setattr("spectrakit.mixers.s4._untruncated", asked)
    recurrence = S4(stored).from_weights(random_parameters(stored, 0, length=16))
    assert recurrence.eigenvalues().log_modulus.shape == (3, 4)
    with pytest.raises(AssertionError, match="C was asked for"):
        recurrence.output_map.at(0, torch.zeros(1, 3, 4, 1))
