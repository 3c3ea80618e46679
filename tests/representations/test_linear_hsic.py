"""Which way linear HSIC_1 takes, in which memory, and that both ways agree."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from spectrakit.representations.cka import cka_of
from spectrakit.representations.linear_hsic import Keeping, LinearHSIC
from tests.representations.feature_sets import direct_cka, gram, related

N = 600
PRIORITIES = torch.randperm(N, generator=torch.Generator().manual_seed(1))


def added(memory_bytes, at_least=0, batch=100, dtype=torch.float64, n=N):
    features = [own.to(dtype) for own in related(n=N)]
    hsic = LinearHSIC(memory_bytes, at_least)
    for start in range(0, n, batch):
        part = slice(start, start + batch)
        hsic.add([own[part] for own in features], PRIORITIES[part])
    return hsic


def value(hsic):
    sums = hsic.pair_sums()
    return cka_of(sums.hsic(), sums.n).value


def expected(n=N):
    return direct_cka([gram(own[:n]) for own in related(n=N)])


def test_few_tokens_are_kept_and_many_summed():
    features = related(n=100)
    keeping = Keeping.within(1 << 30, features)
    widths = (30, 50, 17)
    pairs = 30 * 30 + 50 * 50 + 17 * 17 + 30 * 50 + 30 * 17 + 50 * 17
    assert keeping == Keeping(2 * pairs // sum(widths), sums=True)
    # There n tiles cost what n sums do.
    n = keeping.tokens
    assert n**2 * sum(widths) / 2 == pytest.approx(n * pairs, rel=0.01)


def test_both_ways_are_the_direct_computation():
    summed, kept = added(1 << 30), added(1 << 30, at_least=N)
    assert summed._sums is not None
    assert kept._sums is None
    for found in (summed, kept):
        assert found.pair_sums().n == N
        torch.testing.assert_close(value(found), expected(), rtol=0, atol=1e-11)


def test_what_does_not_fit_is_a_random_sample():
    row = (30 + 50 + 17) * 8
    memory = (4 * row * 250 + 2) // 3  # a quarter is for work
    found = added(memory, at_least=250)
    assert found._sums is None
    assert found.sample.offered == N
    assert found.pair_sums().n == found.sample.capacity == 250
    lowest = PRIORITIES.argsort()[:250]
    features = [own[lowest] for own in related(n=N)]
    torch.testing.assert_close(
        value(found), direct_cka([gram(own) for own in features]), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize(("memory_bytes", "summed"), [(1 << 30, True), (260_000, False)])
def test_batches_may_come_in_any_order(memory_bytes, summed):
    features = related(n=N)
    found = []
    for order in permutations((slice(0, 80), slice(80, 450), slice(450, N))):
        hsic = LinearHSIC(memory_bytes, at_least=200)
        for part in order:
            hsic.add([own[part] for own in features], PRIORITIES[part])
        found.append(value(hsic))
        assert hsic.sample.offered == N
        assert (hsic._sums is not None) == summed
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-12)


def test_too_little_memory_is_refused_with_the_numbers():
    with pytest.raises(MemoryError, match="64 tokens of 776 bytes need 66,218 bytes, not 66,000"):
        added(66_000)
    assert added(67_000).pair_sums().n >= 64
