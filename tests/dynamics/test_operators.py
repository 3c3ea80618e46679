"""Every operator against the dense matrices it stands for."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import (
    Dense,
    DiagonalDecay,
    DiscreteEigenvalues,
    ScalarDecay,
    SeparableDecay,
)

DTYPES = (torch.float32, torch.float64)


def scalar(lead, heads, states, dtype):
    return ScalarDecay(-torch.rand(*lead, heads, dtype=dtype), states)


def diagonal(lead, heads, states, dtype):
    return DiagonalDecay(-torch.rand(*lead, heads, states, dtype=dtype))


def rotating(lead, heads, states, dtype):
    phase = (torch.rand(*lead, heads, states, dtype=dtype) - 0.5) * 2 * math.pi
    return DiagonalDecay(-torch.rand(*lead, heads, states, dtype=dtype), phase)


def separable(lead, heads, states, dtype):
    step = torch.rand(*lead, heads, dtype=dtype)
    return SeparableDecay(step, torch.rand(heads, states, dtype=dtype) * 5)


def dense(lead, heads, states, dtype):
    return Dense(torch.randn(*lead, heads, states, states, dtype=dtype) / states)


OPERATORS = {f.__name__: f for f in (scalar, diagonal, rotating, separable, dense)}

sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))


def sorted_eigenvalues(values):
    return np.sort_complex(np.round(values.to(torch.complex128).numpy(), 6))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("build", OPERATORS.values(), ids=OPERATORS)
@given(size=sizes, seed=st.integers(0, 2**16))
def test_eigenvalues_are_those_of_the_matrix(build, dtype, size, seed):
    batch, tokens, heads, states = size
    torch.manual_seed(seed)
    operator = build((batch, tokens), heads, states, dtype)
    assert (operator.heads, operator.state_size) == (heads, states)
    found = operator.eigenvalues()
    expected = torch.linalg.eigvals(operator.dense())
    repeated = found.values.repeat_interleave(found.multiplicity, -1)
    assert repeated.shape == expected.shape == (batch, tokens, heads, states)
    for one, other in zip(repeated.flatten(0, 2), expected.flatten(0, 2), strict=True):
        np.testing.assert_allclose(
            sorted_eigenvalues(one), sorted_eigenvalues(other), atol=5e-6, rtol=0
        )


@pytest.mark.parametrize("build", OPERATORS.values(), ids=OPERATORS)
@given(size=sizes, width=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_applying_is_multiplying_by_the_matrix(build, size, width, seed):
    batch, tokens, heads, states = size
    torch.manual_seed(seed)
    operator = build((batch, tokens), heads, states, torch.float64)
    state = torch.randn(batch, heads, states, width, dtype=torch.complex128)
    for t in range(tokens):
        expected = operator.dense()[:, t].to(state.dtype) @ state
        torch.testing.assert_close(operator.at(t).apply(state), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", OPERATORS.values(), ids=OPERATORS)
@given(size=sizes, rows=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_applying_to_rows_and_scaling_are_the_matrix_too(build, size, rows, seed):
    batch, tokens, heads, states = size
    torch.manual_seed(seed)
    operator = build((batch, tokens), heads, states, torch.float64)
    factor = torch.randn(batch, tokens, heads, dtype=torch.float64)
    matrix = operator.dense()
    row = torch.randn(batch, rows, heads, states, dtype=torch.complex128)
    for t in range(tokens):
        expected = torch.einsum("brhn,bhnm->brhm", row, matrix[:, t].to(row.dtype))
        found = operator.at(t).apply_left(row)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    scaled = operator.scaled(factor).dense()
    torch.testing.assert_close(scaled, factor.exp()[..., None, None] * matrix)


@pytest.mark.parametrize("build", OPERATORS.values(), ids=OPERATORS)
def test_an_operator_without_tokens_has_no_leading_axes(build):
    operator = build((), 3, 4, torch.float64)
    assert operator.dense().shape == (3, 4, 4)
    assert operator.eigenvalues().log_modulus.shape[0] == 3


@pytest.mark.parametrize("rate", [1e-3, 1e-8, 1e-12, 30.0])
def test_decay_rate_keeps_its_digits_near_the_unit_circle(rate):
    operator = SeparableDecay(
        torch.tensor([rate], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    )
    eigenvalues = operator.eigenvalues()
    with mpmath.workdps(60):
        modulus = mpmath.exp(-mpmath.mpf(rate))
        assert float(eigenvalues.modulus) == pytest.approx(float(modulus), rel=1e-15)
        # What 1 / -log(|lambda|) would have lost, the stored logarithm has not.
        timescale = -1 / mpmath.log(modulus)
        assert float(eigenvalues.timescale) == pytest.approx(float(timescale), rel=1e-15)


def test_negative_and_complex_values_keep_their_phase():
    values = torch.tensor([[-0.5, 0.25]], dtype=torch.float64)
    found = DiscreteEigenvalues.from_values(values)
    torch.testing.assert_close(found.values.real, values)
    assert found.phase is not None
    assert float(found.phase[0, 0]) == math.pi

    turning = torch.polar(torch.tensor([[0.9]]), torch.tensor([[-2.0]]))
    torch.testing.assert_close(DiscreteEigenvalues.from_values(turning).values, turning)


def test_zero_and_one_are_exact():
    found = DiscreteEigenvalues.from_values(torch.tensor([[0.0, 1.0]]))
    assert found.decay_rate.tolist() == [[math.inf, 0.0]]
    assert found.timescale.tolist() == [[0.0, math.inf]]
    assert found.spectral_radius.tolist() == [1.0]
