"""The closed forms of a decay less a matrix of rank one."""

from __future__ import annotations

import math

import pytest
import torch
from spectrakit_fla.mixers.scalar_plus_rank_one import ScalarPlusRankOne


def operator(states, seed=0):
    generator = torch.Generator().manual_seed(seed)
    log_decay = -torch.rand(2, 5, 3, generator=generator, dtype=torch.float64)
    left, right = torch.randn(2, 2, 5, 3, states, generator=generator, dtype=torch.float64)
    return ScalarPlusRankOne(log_decay, left, right)


@pytest.mark.parametrize("states", [1, 2, 6])
def test_eigenvalues_are_those_of_the_matrix(states):
    found = operator(states).eigenvalues()
    values = found.values.repeat_interleave(torch.tensor(found.multiplicities), -1)
    assert float(found.values.real.min()) < 0
    expected = torch.linalg.eigvals(operator(states).dense())
    by_size = (x.real.sort(-1).values for x in (values, expected))
    torch.testing.assert_close(*by_size, rtol=0, atol=1e-10)


def test_applying_is_multiplying_by_the_matrix():
    one, dense = operator(4), operator(4).dense()
    identity = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(
        dense, one.log_decay.exp()[..., None, None] * identity
        - one.left.unsqueeze(-1) * one.right.unsqueeze(-2),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    state = torch.randn(2, 3, 4, 7, generator=generator, dtype=torch.float64)
    rows = torch.randn(2, 6, 3, 4, generator=generator, dtype=torch.float64)
    factor = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(one.at(3).dense(), dense[:, 3])
    torch.testing.assert_close(one.at(3).apply(state), dense[:, 3] @ state)
    torch.testing.assert_close(
        one.at(3).apply_left(rows), torch.einsum("brhn,bhnm->brhm", rows, dense[:, 3])
    )
    torch.testing.assert_close(one.scaled(factor).dense(), factor.exp()[..., None, None] * dense)


@pytest.mark.parametrize("log_decay", [-1e-9, -1.0, -200.0, -2000.0])
@pytest.mark.parametrize("erased", [0.0, 1e-12, 0.5])
def test_the_logarithm_keeps_its_digits_however_fast_the_state_decays(log_decay, erased):
    """Down to decays whose exponential is 0."""
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    found = ScalarPlusRankOne(zero + log_decay, torch.full_like(one, erased), one).eigenvalues()
    decay = math.exp(log_decay)
    if erased == 0:
        expected = log_decay if decay else -math.inf
    elif erased < decay:
        expected = log_decay + math.log1p(-erased / decay)
    else:
        expected = math.log(erased - decay)
    assert float(found.log_modulus[0, 0]) == pytest.approx(expected, rel=1e-12)
    assert (found.phase is not None) == (erased > decay)
