"""Mutual k-nearest-neighbour alignment and its permutation null."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from spectrakit.representations.hsic import TooFewTokens
from spectrakit.representations.neighbours import mutual_neighbours, nearest_neighbours
from tests.representations.feature_sets import independent, related


def mutual(features, k=5, constant=None):
    none = torch.zeros(len(features), dtype=torch.bool)
    return mutual_neighbours(features, k, none if constant is None else torch.tensor(constant))


def test_neighbours_have_the_largest_cosines():
    x = independent(n=1500, widths=(7,))[0]  # more than one block
    unit = x / x.norm(dim=1, keepdim=True)
    cosine = unit @ unit.mT
    cosine.fill_diagonal_(-2)
    expected = cosine.argsort(1, descending=True)[:, :5].sort(1).values
    assert torch.equal(nearest_neighbours(x, 5).sort(1).values, expected)


def test_the_value_is_the_share_of_common_neighbours():
    features = related(n=60)
    found = mutual(features)
    sets = [[set(row) for row in nearest_neighbours(own, 5).tolist()] for own in features]
    common = sum(len(a & b) for a, b in zip(sets[0], sets[1], strict=True))
    assert found.value[0, 1] == pytest.approx(common / (60 * 5))
    assert found.value[1, 0] == found.value[0, 1]
    torch.testing.assert_close(found.value.diagonal(), torch.ones(3, dtype=torch.float64))


def test_the_null_is_that_of_all_permutations():
    x, y = independent(n=7, widths=(3, 4))
    found = mutual([x, y], k=2)
    chosen = [torch.zeros(7, 7).scatter_(1, nearest_neighbours(own, 2), 1) for own in (x, y)]
    values = torch.tensor([
        float((chosen[0] * chosen[1][list(order)][:, list(order)]).sum()) / 14
        for order in permutations(range(7))
    ], dtype=torch.float64)  # fmt: skip
    assert found.null_mean[0, 1] == pytest.approx(float(values.mean()), rel=1e-6)
    assert found.null_std[0, 1] == pytest.approx(float(values.std(correction=0)), rel=1e-6)


def test_independent_noise_shares_neighbours_by_chance():
    z = torch.stack([mutual(independent(n=100, seed=s)).null_z[0, 1] for s in range(40)])
    assert z.abs().max() < 4
    assert 0.7 < z.std() < 1.4


def test_a_constant_set_has_no_neighbourhoods():
    features = [related(n=30)[0], torch.ones(30, 4)]
    found = mutual(features, constant=[False, True])
    assert found.value.isnan().tolist() == [[False, True], [True, True]]
    assert found.null_std.isnan().tolist() == found.value.isnan().tolist()


def test_there_must_be_more_tokens_than_neighbours():
    with pytest.raises(TooFewTokens, match="5 nearest neighbours need 7 tokens, not 6"):
        mutual(related(n=6))
