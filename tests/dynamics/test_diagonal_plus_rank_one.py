"""Diagonal plus rank one: symmetric eigenvalues of a matrix that is not symmetric."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import DeltaRule, DiagonalPlusRankOne
from tests.dynamics.against_dense import assert_actions, assert_eigenvalues, exact_eigenvalues

shapes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6))


def normalised(shape, dtype):
    return torch.nn.functional.normalize(torch.randn(shape, dtype=dtype), dim=-1)


def kimi(shape, dtype):
    log_decay, beta = -torch.rand(shape, dtype=dtype), 2 * torch.rand(shape[:-1], dtype=dtype)
    return DiagonalPlusRankOne.decay_then_erase(log_decay, beta, normalised(shape, dtype))


def rwkv7(shape, dtype):
    log_decay = -math.exp(-0.5) * torch.rand(shape, dtype=dtype)
    key = normalised(shape, dtype)
    return DiagonalPlusRankOne(log_decay, torch.rand(shape, dtype=dtype) * key, key)


def unrelated(shape, dtype):
    """Vectors of any sign: complex eigenvalues."""
    left, right = torch.randn(2, *shape, dtype=dtype)
    return DiagonalPlusRankOne(-torch.rand(shape, dtype=dtype), left, right)


BUILDS = {f.__name__: f for f in (kimi, rwkv7, unrelated)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_eigenvalues_are_those_of_the_matrix(build, dtype, shape, seed):
    torch.manual_seed(seed)
    operator = build(shape, dtype)
    assert (operator.heads, operator.state_size) == shape[-2:]
    error = 1e-5 if dtype == torch.float32 else 1e-10
    # Complex eigenvalues that nearly coincide move with the root of a rounding error.
    assert_eigenvalues(operator, atol=error**0.5 if build is unrelated else error)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_applying_is_multiplying_by_the_matrix(build, shape, seed):
    torch.manual_seed(seed)
    assert_actions(build(shape, torch.float64), tokens=shape[1])


def test_decaying_comes_before_erasing():
    torch.manual_seed(0)
    log_decay, beta, key = -torch.rand(2, 5), torch.rand(2), torch.randn(2, 5)
    found = DiagonalPlusRankOne.decay_then_erase(log_decay, beta, key).dense()
    erase = torch.eye(5) - beta[:, None, None] * key[:, :, None] * key[:, None, :]
    torch.testing.assert_close(found, erase @ torch.diag_embed(log_decay.exp()))


@pytest.mark.parametrize(
    ("slowest", "strength"), [(1.0, 0.9), (1.0, 1.7), (1e-9, 1e-9), (1e-14, 1e-13), (8.0, 0.5)]
)
def test_decay_rates_against_many_digits(slowest, strength):
    """Where everything is slow, rates are right relative to themselves, not to one."""
    torch.manual_seed(0)
    log_decay = -slowest * torch.rand(1, 4, dtype=torch.float64)
    beta = torch.tensor([strength], dtype=torch.float64)
    key = normalised((1, 4), torch.float64)
    found = DiagonalPlusRankOne.decay_then_erase(log_decay, beta, key).eigenvalues()
    with mpmath.workdps(60):
        decay = [mpmath.exp(mpmath.mpf(x)) for x in log_decay[0].tolist()]
        k = [mpmath.mpf(x) for x in key[0].tolist()]
        b = mpmath.mpf(strength)
        matrix = [[((i == j) - b * k[i] * k[j]) * decay[j] for j in range(4)] for i in range(4)]
        exact = sorted(exact_eigenvalues(matrix), key=mpmath.re)
        rates = [float(-mpmath.log(abs(value))) for value in exact]
    np.testing.assert_allclose(found.decay_rate[0], rates, rtol=1e-11)


def test_slow_modes_among_fast_ones_against_many_digits():
    """A rate of 1e-12 beside one of 5: I - A is right in every part, so its eigenvalues are."""
    rate = [1e-12, 3e-12, 1e-7, 1e-7 + 1e-15, 0.3, 2.0, 5.0]
    log_decay = -torch.tensor([rate], dtype=torch.float64)
    torch.manual_seed(0)
    removal, key = torch.rand(1, 7, dtype=torch.float64), normalised((1, 7), torch.float64)
    found = DiagonalPlusRankOne(log_decay, removal * key, key).eigenvalues()
    with mpmath.workdps(60):
        weight = [mpmath.mpf(x) for x in (removal * key * key)[0].tolist()]
        matrix = [
            [
                (i == j) * mpmath.exp(-mpmath.mpf(rate[i])) - mpmath.sqrt(weight[i] * weight[j])
                for j in range(7)
            ]
            for i in range(7)
        ]
        exact = sorted(exact_eigenvalues(matrix), key=mpmath.re)
        rates = [float(-mpmath.log(abs(value))) for value in exact]
    np.testing.assert_allclose(found.decay_rate[0], rates, rtol=1e-13)


@given(seed=st.integers(0, 2**16), states=st.integers(2, 6), decay=st.floats(-200, 0))
def test_equal_decays_are_the_delta_rule_exactly(seed, states, decay):
    torch.manual_seed(seed)
    log_decay = torch.full((3, states), decay, dtype=torch.float64)
    beta, key = torch.rand(3, dtype=torch.float64), normalised((3, states), torch.float64)
    found = DiagonalPlusRankOne.decay_then_erase(log_decay, beta, key).eigenvalues()
    expected = DeltaRule(log_decay[:, 0], beta, key).eigenvalues()
    assert bool((found.log_modulus[:, 1:] == decay).all())
    along = expected.values[:, 1].real
    np.testing.assert_allclose(found.values[:, 0].real, along, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_decays_that_underflow(beta):
    log_decay = torch.tensor([[-800.0, -2000.0, -math.inf, -0.1]], dtype=torch.float64)
    key = normalised((1, 4), torch.float64)
    operator = DiagonalPlusRankOne.decay_then_erase(
        log_decay, torch.tensor([beta], dtype=torch.float64), key
    )
    found = operator.eigenvalues()
    assert not found.log_modulus.isnan().any()
    assert_eigenvalues(operator, atol=1e-14)
    if beta == 0:
        assert float(found.log_modulus[0, -1]) == -0.1
        assert found.phase is None


def test_at_most_the_smallest_is_negative():
    torch.manual_seed(0)
    operator = kimi((4, 50, 2, 8), torch.float64)
    found = operator.eigenvalues()
    negative = found.phase == math.pi
    assert negative[..., 0].any()
    assert not negative[..., 1:].any()
    determinant = torch.linalg.det(operator.dense())
    assert torch.equal(negative[..., 0], determinant < 0)


def test_what_is_not_finite_is_refused():
    log_decay, vector = torch.zeros(1, 2), torch.tensor([[1.0, math.nan]])
    for operator in (
        DiagonalPlusRankOne(log_decay, vector, torch.ones(1, 2)),
        DiagonalPlusRankOne(log_decay + math.nan, torch.ones(1, 2), torch.ones(1, 2)),
        DiagonalPlusRankOne(log_decay + 1e4, torch.ones(1, 2), torch.ones(1, 2)),
    ):
        with pytest.raises(FloatingPointError, match="NaN or infinite"):
            operator.eigenvalues()
