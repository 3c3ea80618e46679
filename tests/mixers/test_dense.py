"""The dense recurrence: against its convolution with matrices, and its eigenvalues."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers.dense import DenseRecurrence
from tests.mixers.test_mamba import assert_within
from tests.support.convolution import mixed

layers = st.builds(DenseRecurrence, st.integers(1, 4), st.integers(1, 5))


def random_parameters(mixer, seed):
    torch.manual_seed(seed)
    p = {role: torch.randn(shape) for role, shape in mixer.shapes().items()}
    p["A"] /= 2 * mixer.state_size**0.5
    return p


def convolution(inputs, p):
    """C A^lag B, over all pairs of tokens: (B, T, 1, Q)."""
    a, b, c = (p[role].double().numpy() for role in "ABC")
    kernel = np.stack([c @ np.linalg.matrix_power(a, lag) @ b for lag in range(inputs.shape[1])])
    return mixed(kernel, inputs) + p["D"].double() * inputs


@given(mixer=layers, tokens=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_recurrence_is_the_convolution(mixer, tokens, seed):
    p = random_parameters(mixer, seed)
    inputs = torch.randn(2, tokens, 1, mixer.model_width, dtype=torch.float64)
    recurrence = mixer.from_weights(p)
    assert_within(recurrence.run(inputs), convolution(inputs, p), 1e-11)


def test_eigenvalues_are_those_of_the_matrix_itself():
    """Of a turn by 1/10 that shrinks to .9, in some basis: no discretisation comes between."""
    mixer = DenseRecurrence(1, 2)
    turn = 0.9 * torch.tensor([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    basis = torch.tensor([[2.0, 1.0], [0.5, 1.0]], dtype=torch.float64)
    p = random_parameters(mixer, 0) | {"A": basis @ turn @ torch.linalg.inv(basis)}
    found = mixer.from_weights(p).eigenvalues()
    np.testing.assert_allclose(found.modulus[0], [0.9, 0.9], rtol=1e-12)
    np.testing.assert_allclose(found.phase[0].sort().values, [-0.1, 0.1], rtol=1e-10)
