"""Unbiased CKA: by tiles, by sums and by groups, against Gram matrices written out."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from spectrakit.representations.cka import cka_of
from spectrakit.representations.feature_sums import FeatureSums
from spectrakit.representations.hsic import TooFewTokens, null_variance
from spectrakit.representations.kernels import RBF
from spectrakit.representations.minibatch import MinibatchCKA
from spectrakit.representations.tiles import edge_within, pair_sums
from tests.representations.feature_sets import (
    direct_cka,
    direct_hsic,
    gram,
    independent,
    related,
)


def by_tiles(features, edge=77, **how):
    sums = pair_sums(features, edge=edge, **how)
    return cka_of(sums.hsic(), sums.n)


def summed(*batches):
    sums = FeatureSums()
    for features in batches:
        sums.add(features)
    return sums


def by_sums(sums):
    return cka_of(sums.pair_sums().hsic(), sums.n).value


def parts(features, *ends):
    starts = (0, *ends)
    stops = (*ends, len(features[0]))
    return [
        [own[start:stop] for own in features]
        for start, stop in zip(starts, stops, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("edge", [32, 77, 300, 512])
@pytest.mark.parametrize("noise", [(0.1, 2.0, 5.0), (50.0, 50.0, 50.0)])
def test_tiles_are_the_direct_computation(edge, noise):
    features = related(noise=noise)
    expected = direct_cka([gram(own) for own in features])
    torch.testing.assert_close(by_tiles(features, edge).value, expected, rtol=0, atol=1e-12)


def test_sums_are_the_direct_computation():
    features = related()
    expected = direct_cka([gram(own) for own in features])
    found = by_sums(summed(*parts(features, 40, 250)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_a_few_tokens_of_huge_norm_do_not_spoil_the_sums():
    features = [own.clone() for own in related()]
    features[0][:3] *= 1e3
    features[1][:3] *= 1e2
    expected = direct_cka([gram(own) for own in features])
    torch.testing.assert_close(by_tiles(features).value, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(by_sums(summed(features)), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-6)])
def test_narrower_features_are_taken_as_they_are(dtype, error):
    narrow = [own.to(dtype) for own in related(mean=1.0)]
    expected = direct_cka([gram(own.double()) for own in narrow])
    torch.testing.assert_close(by_tiles(narrow).value, expected, rtol=0, atol=error)
    torch.testing.assert_close(by_sums(summed(narrow)), expected, rtol=0, atol=1e-11)


def test_the_gaussian_kernel_is_the_direct_computation():
    features = related(n=120)
    kernel, grams = RBF.of_medians(features, 0.5), []
    for own, bandwidth in zip(features, kernel.bandwidths, strict=True):
        distance = torch.cdist(own, own, compute_mode="donot_use_mm_for_euclid_dist")
        apart = distance[tuple(torch.triu_indices(120, 120, 1))].sort().values
        assert bandwidth == pytest.approx(0.5 * float(apart[(len(apart) - 1) // 2]), rel=1e-9)
        grams.append(torch.exp(-(distance**2) / (2 * bandwidth**2)))
    found = by_tiles(features, 50, kernel=kernel).value
    torch.testing.assert_close(found, direct_cka(grams), rtol=0, atol=1e-9)


def test_cka_does_not_see_rotations_shifts_or_scale():
    x = related()[0]
    rotation = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64))[0]
    found = by_tiles([x, 7 * x @ rotation + 100]).value
    torch.testing.assert_close(found, torch.ones(2, 2, dtype=torch.float64), rtol=0, atol=1e-11)


def test_independent_noise_has_no_cka_however_wide():
    z = [by_tiles(independent(n=100, seed=seed)).null_z[0, 1] for seed in range(40)]
    z = torch.stack(z)
    assert z.abs().max() < 4
    assert 0.7 < z.std() < 1.4
    assert z.mean().abs() < 0.5


def test_the_null_is_that_of_all_permutations():
    x, y = independent(n=6, widths=(3, 4))
    orders = [list(order) for order in permutations(range(6))]
    found = [direct_hsic(gram(x), gram(y[order])) for order in orders]
    hsic = pair_sums([x, y]).hsic()
    assert torch.stack(found).mean() == pytest.approx(0, abs=1e-12)
    expected = torch.stack(found).var(correction=0)
    torch.testing.assert_close(null_variance(hsic, 6)[0, 1], expected, rtol=1e-9, atol=0)


def test_sums_are_the_same_in_any_order_of_batches():
    features = related()
    whole = by_sums(summed(features))
    for order in permutations(parts(features, 40, 180, 250)):  # the centre is of the first
        sums = summed(*order)
        assert sums.n == 300
        torch.testing.assert_close(by_sums(sums), whole, rtol=0, atol=1e-12)


def test_groups_are_the_ratio_of_averages():
    features = related()
    grouped = MinibatchCKA(100)
    grouped.add(features)
    grams = [[gram(own) for own in part] for part in parts(features, 100, 200)]
    mean = torch.stack([
        torch.stack([torch.stack([direct_hsic(K, L) for L in part]) for K in part])
        for part in grams
    ]).mean(0)  # fmt: skip
    expected = mean / torch.outer(mean.diagonal(), mean.diagonal()).sqrt()
    torch.testing.assert_close(grouped.cka().value, expected, rtol=0, atol=1e-12)
    assert grouped.cka().tokens == 300


def test_groups_of_independent_noise_average_to_nothing():
    z = []
    for seed in range(40):
        grouped = MinibatchCKA(25)
        grouped.add(independent(n=100, seed=seed))
        z.append(grouped.cka().null_z[0, 1])
    z = torch.stack(z)
    assert z.abs().max() < 4
    assert 0.7 < z.std() < 1.4


def test_groups_are_as_equal_as_can_be_and_merge():
    features = related(n=103)
    grouped, other = MinibatchCKA(25), MinibatchCKA(25)
    grouped.add([own[:51] for own in features])  # 17, 17, 17
    other.add([own[51:] for own in features])  # 17, 17, 18
    other.add([own[:3] for own in features])  # too few
    grouped.merge(other)
    assert grouped.tokens == 103
    pieces = [direct_hsic(gram(part[0]), gram(part[1])) * len(part[0])
              for part in parts(features, 17, 34, 51, 68, 85)]  # fmt: skip
    expected = sum(pieces)
    own = grouped._hsic
    assert own is not None
    torch.testing.assert_close(own[0, 1], expected, rtol=1e-11, atol=0)


def test_constant_features_have_no_cka():
    x = related(n=50)[0]
    constant = torch.full((50, 8), 0.1, dtype=torch.float64)
    for found in (by_tiles([x, constant]).value, by_sums(summed([x, constant]))):
        assert found[0, 0] == pytest.approx(1)
        assert found[[0, 1, 1], [1, 0, 1]].isnan().all()


def test_tokens_that_are_all_equally_far_apart_have_no_cka():
    corners = torch.eye(40)
    assert by_tiles([corners, related(n=40)[0]]).value[0].isnan().all()
    sets = [torch.zeros(40, 3), corners]
    assert by_tiles(sets, kernel=RBF.of_medians(sets, 1.0)).value.isnan().all()


def test_three_tokens_are_too_few():
    with pytest.raises(TooFewTokens, match="4 tokens, not 3"):
        by_tiles(related(n=3))
    with pytest.raises(TooFewTokens, match="groups of 4"):
        MinibatchCKA(8).cka()


def test_a_tile_of_all_sets_is_within_the_memory():
    widths = [768] * 25
    assert edge_within(widths, 1 << 30) == 512
    assert edge_within(widths, 110_000_000) == 256
    assert 2 * 8 * 256 * (25 * 256 + 25 * 768) <= 110_000_000
    assert edge_within(widths, 1) == 32
