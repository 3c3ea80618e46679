from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrakit.representations.dimension import dimensions
from spectrakit.representations.token_sets import BatchTokens


def all_tokens(states):
    return BatchTokens(torch.ones(states.shape[:2], dtype=torch.bool))


def directly(h):
    """Effective rank and participation ratio of one sequence (n, E), by singular values."""
    h = h.double().numpy()
    variances = np.linalg.svd(h - h.mean(0), compute_uv=False) ** 2
    share = variances / variances.sum()
    share = share[share > 0]
    return np.exp(-(share * np.log(share)).sum()), 1 / (share**2).sum()


@pytest.mark.parametrize(("tokens", "width"), [(12, 40), (40, 12)])
def test_they_are_those_of_the_covariance(tokens, width):
    torch.manual_seed(0)
    states = torch.randn(2, tokens, width) * torch.rand(width) + 30
    states[:, 0] *= 50
    found = dimensions(states, all_tokens(states), most=1000)
    for index, sequence in enumerate(states):
        for which in (0, 1):
            expected = directly(sequence[which:])
            np.testing.assert_allclose(found[:, index, which], expected, rtol=1e-9)


def test_equal_variances_are_counted():
    corners = torch.cat([torch.eye(5), -torch.eye(5)]).repeat(2, 1)[None]
    rank, ratio = dimensions(corners, all_tokens(corners), 100)[:, 0, 0]
    assert rank == pytest.approx(5, rel=1e-12)
    assert ratio == pytest.approx(5, rel=1e-12)


def test_tokens_on_a_line_have_one_dimension_and_equal_ones_none():
    line = torch.arange(20.0)[None, :, None] * torch.randn(7) + 3
    np.testing.assert_allclose(dimensions(line, all_tokens(line), 100)[:, 0, 0], 1, rtol=1e-6)
    same = torch.full((1, 20, 7), 0.1)
    assert dimensions(same, all_tokens(same), 100).isnan().all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(3, 20), st.integers(2, 10))
def test_neither_moving_nor_turning_nor_scaling_matters(seed, tokens, width):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(1, tokens, width, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
    found, moved = (dimensions(x, all_tokens(x), 100) for x in (states, 7 * (states @ turn) + 100))
    torch.testing.assert_close(moved, found, rtol=1e-8, atol=0)
    rank, ratio = found[..., 0]
    assert 1 - 1e-9 <= float(ratio) <= float(rank) + 1e-9
    assert float(rank) <= min(tokens - 1, width) + 1e-9


def test_a_long_sequence_is_sampled_evenly_with_its_first_token():
    torch.manual_seed(0)
    states = torch.randn(1, 100, 30)
    found = dimensions(states, all_tokens(states), 12)[:, 0]
    taken = [0, *np.linspace(1, 99, 11).round().astype(int)]
    assert taken[-1] == 99
    np.testing.assert_allclose(found[:, 0], directly(states[0, taken]), rtol=1e-9)
    np.testing.assert_allclose(found[:, 1], directly(states[0, taken[1:]]), rtol=1e-9)


def test_padding_is_not_taken_and_few_tokens_have_none():
    torch.manual_seed(0)
    states = torch.randn(4, 10, 6)
    valid = torch.arange(10) < torch.tensor([10, 7, 2, 0])[:, None]
    found = dimensions(states, BatchTokens(valid), 100)
    np.testing.assert_allclose(found[:, 1, 0], directly(states[1, :7]), rtol=1e-9)
    assert np.isclose(found[:, 2, 0], 1).all()
    assert found[:, 2, 1].isnan().all()
    assert found[:, 3].isnan().all()
