"""The shift register: a convolution, and nothing but zeros in its spectrum."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import ShiftRegister
from tests.dynamics.against_dense import assert_close


@given(heads=st.integers(1, 4), states=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_actions_are_those_of_the_matrix(heads, states, seed):
    torch.manual_seed(seed)
    operator = ShiftRegister(heads, states)
    dense = operator.dense().to(torch.complex128)
    assert dense.shape == (heads, states, states)
    state = torch.randn(2, heads, states, 3, dtype=torch.complex128)
    row = torch.randn(2, 5, heads, states, dtype=torch.complex128)
    assert_close(operator.apply(state), dense @ state)
    assert_close(operator.apply_left(row), torch.einsum("brhn,hnm->brhm", row, dense))
    assert operator.at(3) == operator
    factor = torch.randn(2, heads, dtype=torch.float64)
    assert_close(operator.scaled(factor).dense(), factor.exp()[..., None, None] * dense)


@given(heads=st.integers(1, 4), states=st.integers(1, 6))
def test_every_eigenvalue_is_exactly_zero(heads, states):
    operator = ShiftRegister(heads, states)
    found = operator.eigenvalues()
    assert found.log_modulus.tolist() == [[-math.inf]] * heads
    assert found.multiplicities == (states,)
    assert not torch.linalg.matrix_power(operator.dense(), states).any()


@given(states=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_it_is_a_causal_convolution(states, seed):
    torch.manual_seed(seed)
    inputs, taps = torch.randn(12, dtype=torch.float64), torch.randn(states, dtype=torch.float64)
    operator, state = ShiftRegister(1, states), torch.zeros(1, states, 1, dtype=torch.float64)
    outputs = []
    for value in inputs:
        state = operator.apply(state)
        state[:, 0] += value
        outputs.append(float(taps @ state[0, :, 0]))
    padded = torch.nn.functional.pad(inputs, (states - 1, 0))
    expected = torch.nn.functional.conv1d(padded[None, None], taps.flip(0)[None, None])[0, 0]
    torch.testing.assert_close(torch.tensor(outputs, dtype=torch.float64), expected)
