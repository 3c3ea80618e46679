"""How far decay rates vary over tokens, against NumPy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.analyses.spectrum.token_spread import TokenSpread
from spectrakit.dynamics import DeltaRule, DiagonalDecay


def spread_of(rates, cuts=()):
    found = TokenSpread(rates.shape[1])
    for part in torch.tensor_split(torch.tensor(rates), cuts):
        found.add(part)
    return found


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 29), max_size=3))
def test_it_is_the_deviation_of_the_logarithm_however_tokens_are_cut(seed, cuts):
    rates = 10 ** np.random.default_rng(seed).uniform(-6, 2, (30, 3))
    found = spread_of(rates, sorted(cuts))
    expected = np.log10(rates).std(0)
    assert found.by_unit() == pytest.approx(expected, rel=1e-12)
    assert found.of_all() == pytest.approx(np.sqrt((expected**2).mean()), rel=1e-12)


def test_a_decay_that_does_not_vary_has_none():
    assert spread_of(np.full((50, 2), 0.3)).of_all() == pytest.approx(0, abs=1e-15)


def test_all_rates_times_a_factor_spread_alike():
    rates = np.random.default_rng(0).uniform(0.1, 1, (40, 2))
    assert spread_of(rates).of_all() == pytest.approx(spread_of(1000 * rates).of_all(), rel=1e-12)


def test_tokens_that_keep_or_lose_all_are_left_out():
    rates = np.array([[1.0, 0.0], [math.inf, 0.0], [100.0, 0.0], [0.0, math.inf]])
    found = spread_of(rates)
    assert found.by_unit() == pytest.approx([1.0, math.nan], nan_ok=True)
    assert found.of_all() == pytest.approx(1.0)


def test_growth_at_a_token_has_no_rate_to_vary():
    found = spread_of(np.array([[1.0, 0.1], [2.0, -0.1]]))
    assert found.by_unit() == pytest.approx([np.log10(2) / 2, math.nan], nan_ok=True)
    assert math.isnan(found.of_all())


def test_a_head_without_tokens_has_none():
    assert math.isnan(TokenSpread(2).of_all())


def test_the_mean_rate_is_that_of_the_determinant():
    torch.manual_seed(0)
    key = torch.nn.functional.normalize(torch.randn(4, 2, 5, dtype=torch.float64), dim=-1)
    decay, beta = -torch.rand(4, 2).double(), torch.rand(4, 2).double()
    for operator in (DeltaRule(decay, beta, key), DiagonalDecay(-torch.rand(4, 2, 5).double())):
        expected = -torch.linalg.slogdet(operator.dense()).logabsdet / 5
        assert operator.eigenvalues().mean_decay_rate.numpy() == pytest.approx(
            expected.numpy(), rel=1e-12
        )
