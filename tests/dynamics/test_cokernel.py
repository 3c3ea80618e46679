"""Exact zeros of matrices that were computed, on both sides of the bound."""

from __future__ import annotations

import mpmath
import pytest
import torch

from spectrakit.dynamics import DeltaRule
from spectrakit.dynamics.cokernel import cokernel

EPS = torch.finfo(torch.float64).eps
KEYS = 500


def unit(values):
    return torch.nn.functional.normalize(values, dim=-1)


def erasures(keys, log_decay=0.0):
    """exp(log_decay) (I - k k^T) of keys (M, N), multiplied out."""
    one = torch.ones(len(keys), dtype=torch.float64)
    return DeltaRule(log_decay * one, one, keys).dense()


def count(matrices):
    """How many columns are not zero."""
    return (cokernel(matrices) != 0).any(-2).sum(-1)


def in_random_bases(values, states):
    """Matrices (KEYS, N, N) with these singular values."""
    left, right = torch.linalg.qr(torch.randn(2, KEYS, states, states, dtype=torch.float64))[0]
    return left * values @ right


@pytest.mark.parametrize("log_decay", [0.0, -3.7, -80.0])
@pytest.mark.parametrize("off", [1e-12, 1e-8, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("states", [2, 3, 6, 16, 64])
def test_an_erasure_has_one_direction_its_key(states, off, log_decay):
    """However near its key is to an axis, and whatever decays with it."""
    torch.manual_seed(states)
    keys = off * torch.randn(KEYS, states, dtype=torch.float64)
    keys[:, 0] = 1
    keys = unit(keys)
    found = cokernel(erasures(keys, log_decay))
    assert bool((count(erasures(keys, log_decay)) == 1).all())
    along = (found.sum(-1) * keys).sum(-1).abs()  # the other columns are zero
    torch.testing.assert_close(along, torch.ones_like(along), rtol=1e-12, atol=0)


@pytest.mark.parametrize("states", [2, 6, 16])
def test_the_bound_holds_of_the_numbers_that_the_matrix_has(states):
    """Of their exact singular values, without the rounding of a decomposition."""
    torch.manual_seed(0)
    for matrix in erasures(unit(torch.randn(10, states, dtype=torch.float64))):
        with mpmath.workdps(40):
            values = mpmath.svd_r(mpmath.matrix(matrix.tolist()), compute_uv=False)
            assert min(values) / max(values) < (states / 2 + 6.5) * EPS


@pytest.mark.parametrize("smallest", [1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("states", [2, 6, 16, 64])
def test_what_is_above_the_bound_is_not_zero(states, smallest):
    torch.manual_seed(0)
    values = torch.ones(states, dtype=torch.float64)
    values[-1] = smallest
    assert not bool(count(in_random_bases(values, states)).any())


@pytest.mark.parametrize("states", [4, 6, 16])
def test_what_is_below_it_is_zero_as_often_as_it_occurs(states):
    torch.manual_seed(0)
    values = torch.ones(states, dtype=torch.float64)
    values[-2:] = 0
    assert bool((count(in_random_bases(values, states)) == 2).all())


@pytest.mark.parametrize("decay", [1e-20, 1e-100, 1e-300])
def test_rows_and_columns_that_are_small_as_a_whole_are_not_zero(decay):
    torch.manual_seed(0)
    turned = in_random_bases(torch.ones(6, dtype=torch.float64), 6)
    small = torch.ones(6, dtype=torch.float64)
    small[::2] = decay
    for matrices in (turned * small, small.unsqueeze(-1) * turned, torch.diag(small)[None]):
        assert not bool(count(matrices).any())
    # An erasure after such a decay takes one direction.
    keys = unit(torch.randn(KEYS, 6, dtype=torch.float64))
    assert bool((count(erasures(keys) * small) == 1).all())


def test_zero_has_every_direction():
    assert count(torch.zeros(1, 3, 3, dtype=torch.float64)).tolist() == [3]
