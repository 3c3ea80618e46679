"""S4's operator: the bilinear rule, and how far its eigenvalues can be trusted."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import DiagonalPlusLowRank
from tests.dynamics.against_dense import (
    assert_close,
    assert_eigenvalues,
    exact_eigenvalues,
    paired,
    with_multiplicity,
)

shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))  # r, H, N / 2


def operator(shape, seed, in_pairs=True, dtype=torch.complex128):
    rank, heads, half = shape
    torch.manual_seed(seed)
    states = half if in_pairs else 2 * half
    frequency = 3 * torch.arange(states) + torch.rand(heads, states)
    poles = (-0.5 - torch.rand(heads, states) + 1j * frequency).to(dtype)
    low_rank = torch.randn(rank, heads, states, dtype=dtype) / 2
    step = 0.01 + torch.rand(heads)
    build = DiagonalPlusLowRank.from_conjugate_halves if in_pairs else DiagonalPlusLowRank
    return build(poles, low_rank, step)


def legs(states, step):
    """HiPPO-LegS, whose A has the eigenvalues -1 ... -N, as S4 stores it."""
    n = np.arange(states)
    p = np.sqrt(n + 0.5)
    a = -np.tril(np.sqrt(np.outer(2 * n + 1, 2 * n + 1))) + np.diag(n)
    normal = a + np.outer(p, p)
    frequency, basis = np.linalg.eigh(-1j * (normal - normal.T) / 2)
    poles, low_rank = -0.5 + 1j * frequency, basis.conj().T @ p
    half = frequency < 0
    return DiagonalPlusLowRank.from_conjugate_halves(
        torch.from_numpy(poles[half])[None],
        torch.from_numpy(low_rank[half])[None, None],
        torch.tensor([step], dtype=torch.float64),
    )


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("in_pairs", [True, False])
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_eigenvalues_are_those_of_the_matrix(dtype, in_pairs, shape, seed):
    one = operator(shape, seed, in_pairs, dtype)
    assert (one.heads, one.state_size) == (shape[1], 2 * shape[2])
    assert_eigenvalues(one, atol=1e-7)
    assert one.eigenvalues().log_modulus.dtype == torch.float64


@given(shape=shapes, seed=st.integers(0, 2**16))
def test_the_matrix_is_the_bilinear_rule(shape, seed):
    one = operator(shape, seed, in_pairs=False)
    a = torch.diag_embed(one.poles)
    for p in one.low_rank:
        a = a - p.unsqueeze(-1) @ p.conj().unsqueeze(-2)
    half = one.step[:, None, None] / 2 * a
    identity = torch.eye(one.state_size)
    assert_close((identity - half) @ one.dense(), identity + half)


@pytest.mark.parametrize("in_pairs", [True, False])
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_applying_is_multiplying_by_the_matrix(in_pairs, shape, seed):
    one = operator(shape, seed, in_pairs)
    dense = one.dense()
    state = torch.randn(2, one.heads, one.state_size, 3, dtype=torch.complex128)
    row = torch.randn(2, 5, one.heads, one.state_size, dtype=torch.complex128)
    assert_close(one.apply(state), dense @ state)
    assert_close(one.apply_left(row), torch.einsum("brhn,hnm->brhm", row, dense))
    assert one.at(7) is one
    factor = torch.randn(2, one.heads, dtype=torch.float64)
    assert_close(one.scaled(factor).dense(), factor.exp()[..., None, None] * dense)


@given(shape=shapes, seed=st.integers(0, 2**16))
def test_a_state_in_pairs_is_the_same_in_any_order(shape, seed):
    """Reordered, the state is not seen to be in pairs, and the complex eigensolver is used."""
    one = operator(shape, seed)
    order = torch.arange(one.state_size).roll(1)
    other = DiagonalPlusLowRank(one.poles[:, order], one.low_rank[..., order], one.step)
    found, expected = (with_multiplicity(op.eigenvalues()).numpy() for op in (one, other))
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, paired(left, right), atol=1e-9)
        np.testing.assert_allclose(left, paired(left, left.conj()), atol=0)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("in_pairs", [True, False])
def test_the_bound_is_the_condition_number_times_the_backward_error(rank, in_pairs):
    """With condition numbers from LAPACK's own left and right eigenvectors."""
    one = operator((rank, 1, 4), 0, in_pairs)
    p = one.low_rank[:, 0]
    a = (torch.diag(one.poles[0]) - p.T @ p.conj()).numpy()
    mu, y, x = scipy.linalg.eig(a, left=True, right=True)
    condition = 1 / np.abs((y.conj() * x).sum(0))
    half = float(one.step[0]) / 2
    backward = len(mu) * 2.0**-52 * np.linalg.norm(a)
    expected = 2 * half * condition * backward / np.abs(1 - half * mu) ** 2
    found = one.eigenvalues()
    values = with_multiplicity(found)[0].numpy()
    image = (1 + half * mu) / (1 - half * mu)
    of = [int(np.abs(image - value).argmin()) for value in values]
    expected = expected[of] + 2 * 2.0**-52 * np.abs(values)  # and what is rounded at the end
    np.testing.assert_allclose(found.error_bound[0], expected, rtol=1e-6)


@pytest.mark.parametrize("step", [1e-3, 1e-2, 1e-1])
def test_the_error_lies_within_the_bound(step):
    one = legs(16, step)
    poles, p = one.poles[0].tolist(), one.low_rank[0, 0].tolist()
    with mpmath.workdps(60):
        a = [
            [(i == j) * mpmath.mpc(poles[i]) - mpmath.mpc(p[i]) * mpmath.conj(mpmath.mpc(p[j]))
             for j in range(16)]
            for i in range(16)
        ]  # fmt: skip
        z = [mpmath.mpf(step) / 2 * mu for mu in exact_eigenvalues(a)]
        exact = np.array([complex((1 + w) / (1 - w)) for w in z])
    found = one.eigenvalues()
    values, bound = with_multiplicity(found)[0].numpy(), found.error_bound[0].numpy()
    error = np.abs(values - paired(values, exact))
    assert (error <= bound).all()
    # It tells the eigenvalues that are known from those that are not.
    slowest = np.argsort(-np.abs(values))
    assert bound[slowest[0]] < 1e-12
    assert bound[slowest[10]] > 1e6 * bound[slowest[0]]


@pytest.mark.parametrize("states", [32, 64])
def test_of_a_large_legs_the_slow_modes_are_right_and_the_fast_ones_are_not_claimed(states):
    step = 1e-2
    found = legs(states, step).eigenvalues()
    rising = found.decay_rate[0].argsort()
    rates = found.decay_rate[0][rising[:3]]
    exact = [-math.log((1 - n * step / 2) / (1 + n * step / 2)) for n in (1, 2, 3)]
    np.testing.assert_allclose(rates, exact, rtol=1e-4)
    bound = found.error_bound[0][rising]
    assert bool((bound[:3] < 1e-4).all())
    assert bool((bound[states // 2 :] > 1e-4).all())


def test_modes_near_the_unit_circle_keep_their_digits():
    step = 1e-9
    poles = torch.tensor([[-0.25 + 2j]], dtype=torch.complex128)
    one = DiagonalPlusLowRank(poles, 0 * poles[None], torch.tensor([step], dtype=torch.float64))
    with mpmath.workdps(50):
        z = mpmath.mpf(step) / 2 * mpmath.mpc(poles.item())
        rate = -mpmath.log(abs((1 + z) / (1 - z)))
    assert float(one.eigenvalues().decay_rate) == pytest.approx(float(rate), rel=1e-14)


def test_without_a_low_rank_part_the_poles_are_known_to_rounding():
    poles = torch.tensor([[-1.0 + 2j, -3.0 + 1j, -0.5 + 0j]], dtype=torch.complex128)
    for rank in (1, 2):
        zero = torch.zeros(rank, 1, 3, dtype=torch.complex128)
        found = DiagonalPlusLowRank(poles, zero, torch.tensor([0.5])).eigenvalues()
        eps = torch.finfo(torch.float64).eps  # a bound of N = 3 times a few roundings
        assert bool((found.error_bound < 3 * 8 * eps).all())
        expected = ((1 + 0.25 * poles) / (1 - 0.25 * poles))[0]
        np.testing.assert_allclose(found.values[0], paired(found.values[0], expected), atol=1e-15)


def test_a_pole_that_nothing_is_coupled_to_is_known_as_well():
    one = operator((1, 2, 3), 0, in_pairs=False)
    one.low_rank[..., 0] = 0
    found = one.eigenvalues()
    half = one.step[0] / 2 * one.poles[0, 0]
    nearest = (found.values[0] - (1 + half) / (1 - half)).abs().argmin()
    assert float(found.error_bound[0, nearest]) < 1e-13


def test_a_pole_of_the_bilinear_rule_has_no_bound():
    """dt mu / 2 = 1, of an A that grows: A_bar does not exist."""
    poles = torch.tensor([[2.0 + 0j, -1.0 + 0j]], dtype=torch.complex128)
    found = DiagonalPlusLowRank(poles, 0 * poles[None], torch.tensor([1.0])).eigenvalues()
    growing = found.log_modulus[0].argmax()
    assert float(found.error_bound[0, growing]) == math.inf
    assert float(found.error_bound[0, 1 - growing]) < 1e-15
