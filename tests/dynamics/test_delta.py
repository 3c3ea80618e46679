"""The delta rule's closed forms."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import DeltaRule
from tests.dynamics.against_dense import assert_actions, assert_eigenvalues

shapes = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 3), st.integers(1, 6))


def delta_rule(shape, seed, dtype=torch.float64, normalised=True):
    torch.manual_seed(seed)
    key = torch.randn(shape, dtype=dtype)
    if normalised:
        key = torch.nn.functional.normalize(key, dim=-1)
    beta = 2 * torch.rand(shape[:-1], dtype=dtype)
    return DeltaRule(-torch.rand(shape[:-1], dtype=dtype), beta, key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("normalised", [True, False])
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_eigenvalues_are_those_of_the_matrix(dtype, normalised, shape, seed):
    operator = delta_rule(shape, seed, dtype, normalised)
    assert (operator.heads, operator.state_size) == shape[-2:]
    assert sum(operator.eigenvalues().multiplicities) == shape[-1]
    assert_eigenvalues(operator, atol=1e-5 if dtype == torch.float32 else 1e-12)


@given(shape=shapes, seed=st.integers(0, 2**16))
def test_applying_is_multiplying_by_the_matrix(shape, seed):
    assert_actions(delta_rule(shape, seed, normalised=False), tokens=shape[1])


@pytest.mark.parametrize("erased", [1e-12, 0.3, 1 - 1e-12, 1 + 1e-12, 1.9, 2.5])
def test_the_logarithm_along_the_key_keeps_its_digits(erased):
    zero = torch.zeros(1, dtype=torch.float64)
    operator = DeltaRule(zero, zero + erased, torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    found = operator.eigenvalues()
    with mpmath.workdps(50):
        expected = mpmath.log(abs(1 - mpmath.mpf(erased)))
    assert float(found.log_modulus[0, 0]) == 0
    assert float(found.log_modulus[0, 1]) == pytest.approx(float(expected), rel=1e-14)
    assert float(found.values[0, 1].real) == pytest.approx(1 - erased, abs=1e-15)


def test_an_erased_key_is_an_eigenvalue_of_zero():
    key = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    beta = 1 / key.square().sum(-1)
    found = DeltaRule(torch.tensor([-0.5], dtype=torch.float64), beta, key).eigenvalues()
    assert found.log_modulus.tolist() == [[-0.5, -math.inf]]
    assert found.phase is None


def test_only_what_is_erased_twice_over_turns_around():
    key = torch.ones(2, 1, dtype=torch.float64)
    found = DeltaRule(torch.zeros(2), torch.tensor([0.5, 1.5]), key).eigenvalues()
    assert found.multiplicities == (1,)
    assert found.phase.tolist() == [[0.0], [math.pi]]
