"""Tokens and coordinates of any size: every estimator against Gram matrices in longdouble."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectrakit.representations.cka import cka_of
from spectrakit.representations.feature_sums import FeatureSums
from spectrakit.representations.kernels import RBF
from spectrakit.representations.minibatch import MinibatchCKA
from spectrakit.representations.neighbours import nearest_neighbours
from spectrakit.representations.procrustes import procrustes_distance
from spectrakit.representations.tiles import pair_sums
from tests.representations.feature_sets import related

RATIOS = (1.0, 1e3, 1e5, 1e7, 1e9)
WIDTHS = ((4, 6, 5), (256, 300, 64))


def with_huge_tokens(ratio, widths, n=200, both=True):
    """Features in float32 as a model has them, of which two tokens are `ratio` times as long."""
    features = [own.float() for own in related(n=n, widths=widths, mean=3.0)]
    for own in features if both else features[:1]:
        own[[0, n // 2]] *= ratio
    return features


def in_extended_precision(features, kernel=None):
    """Unbiased CKA of all pairs, U-centred in longdouble (Szekely & Rizzo 2014)."""
    centred = [centred_gram(own.numpy().astype(np.longdouble), kernel, i)
               for i, own in enumerate(features)]  # fmt: skip
    inner = np.array([[(K * L).sum() for K in centred] for L in centred])
    own = np.diagonal(inner)
    return torch.from_numpy((inner / np.sqrt(np.outer(own, own))).astype(np.float64))


def centred_gram(x, kernel, which):
    x = x - np.median(x, 0)
    if kernel is None:
        gram = x @ x.T
    else:
        apart = ((x[:, None] - x[None]) ** 2).sum(-1)
        gram = np.exp(-apart / (2 * np.longdouble(kernel.bandwidths[which]) ** 2))
    n = len(gram)
    np.fill_diagonal(gram, 0)
    rows = gram.sum(1)
    gram = gram - (rows[:, None] + rows[None]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0)
    return gram


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_linear_cka_by_tiles_sums_and_batches(ratio, widths, both):
    features = with_huge_tokens(ratio, widths, both=both)
    expected = in_extended_precision(features)
    tiles = pair_sums(features, edge=64)
    assert_close(cka_of(tiles.hsic(), tiles.n).value, expected)
    whole, in_batches = FeatureSums(), FeatureSums()
    whole.add(features)
    in_batches.add([own[:90] for own in features])
    in_batches.add([own[90:] for own in features])
    for sums in (whole.pair_sums(), in_batches.pair_sums()):
        assert sums.n == 200
        assert_close(cka_of(sums.hsic(), 200).value, expected)


@pytest.mark.parametrize("ratio", RATIOS)
def test_tokens_counted_besides_are_tokens(ratio):
    features = with_huge_tokens(ratio, WIDTHS[0])
    besides = torch.zeros(200, dtype=torch.bool)
    besides[[0, 7, 100]] = True
    sums = FeatureSums()
    sums.add([own[~besides] for own in features])
    found = sums.pair_sums([own[besides] for own in features])
    assert_close(cka_of(found.hsic(), 200).value, in_extended_precision(features))
    without = sums.pair_sums()
    expected = in_extended_precision([own[~besides] for own in features])
    assert_close(cka_of(without.hsic(), 197).value, expected)


@pytest.mark.parametrize("ratio", RATIOS)
def test_cka_of_groups_is_of_their_centred_matrices(ratio):
    features = with_huge_tokens(ratio, WIDTHS[0])
    grouped = MinibatchCKA(100)
    grouped.add(features)
    inner = np.zeros((3, 3), np.longdouble)
    for part in (slice(0, 100), slice(100, 200)):
        centred = [centred_gram(own[part].numpy().astype(np.longdouble), None, 0)
                   for own in features]  # fmt: skip
        inner += np.array([[(K * L).sum() for K in centred] for L in centred])
    expected = inner / np.sqrt(np.outer(np.diagonal(inner), np.diagonal(inner)))
    assert_close(grouped.cka().value, torch.from_numpy(expected.astype(np.float64)))


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_gaussian_kernel(ratio, widths):
    features = with_huge_tokens(ratio, widths, n=100)
    kernel = RBF.of_medians(features, 1.0)
    apart = np.linalg.norm(
        features[0].numpy().astype(np.longdouble)[:, None] - features[0].numpy(), axis=-1
    )[np.triu_indices(100, 1)]
    assert kernel.bandwidths[0] == pytest.approx(float(np.sort(apart)[(len(apart) - 1) // 2]))
    sums = pair_sums(features, kernel, edge=64)
    assert_close(cka_of(sums.hsic(), 100).value, in_extended_precision(features, kernel))


@pytest.mark.parametrize("ratio", RATIOS)
def test_procrustes_distance(ratio):
    x, y = (own.double().numpy() for own in with_huge_tokens(ratio, (4, 4, 4), n=60)[:2])
    x, y = (own - own.mean(0) for own in (x, y))
    x, y = (own / np.linalg.norm(own) for own in (x, y))
    common = np.linalg.svd(x.T @ y)[1].sum()
    found = procrustes_distance(*with_huge_tokens(ratio, (4, 4, 4), n=60)[:2])
    assert found == pytest.approx(math.sqrt(max(0.0, 2 - 2 * common)), abs=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e6])
def test_neighbours_where_all_tokens_share_a_huge_coordinate(offset):
    """Cosines then differ in their last digits, which float32 does not have."""
    x = torch.randint(-512, 512, (150, 24), generator=torch.Generator().manual_seed(0)) / 64
    x[:, 3] += offset
    wide = x.numpy().astype(np.longdouble)
    unit = wide / np.sqrt((wide**2).sum(1, keepdims=True))
    apart = ((unit[:, None] - unit[None]) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    expected = np.sort(np.argsort(apart, axis=1, kind="stable")[:, :8], axis=1)
    found = nearest_neighbours(x, 8).sort(1).values.numpy()
    assert (found == expected).mean() > 0.999
