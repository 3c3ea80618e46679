"""A random sample of tokens that does not depend on the batches."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from spectrakit.representations.token_sample import TokenSample, token_priorities


def drawn(sequences=8, tokens=50, width=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    states = torch.randn(sequences, tokens, width, generator=g)
    return states, torch.ones(sequences, tokens, dtype=torch.bool)


def offered(capacity, states, priorities):
    sample = TokenSample(capacity)
    offer(sample, states, priorities)
    return sample


def offer(sample, states, priorities):
    flat = states.flatten(0, 1)
    sample.add([flat, 2 * flat[:, :3]], priorities.flatten())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_priorities_are_uniform_and_all_different(dtype):
    states, valid = drawn(sequences=20, tokens=500)
    found = token_priorities(states.to(dtype), valid, 0).flatten().double() / 2.0**64 + 0.5
    assert len(found.unique()) == 10_000
    counts = torch.histc(found, 20, 0, 1)
    assert (counts - 500).abs().max() < 4 * 500**0.5


def test_a_priority_is_of_a_sequence_and_a_place():
    states, valid = drawn()
    whole = token_priorities(states, valid, 0)
    alone = token_priorities(states[3:5], valid[3:5], 0)
    assert torch.equal(whole[3:5], alone)
    padded = torch.cat([states, torch.full((8, 7, 6), 9.0)], 1)
    seen = torch.cat([valid, torch.zeros(8, 7, dtype=torch.bool)], 1)
    assert torch.equal(token_priorities(padded, seen, 0)[:, :50], whole)
    # The same token at the same place of another sequence: as every text's first token is.
    states[:, 0] = 1.0
    assert len(token_priorities(states, valid, 0)[:, 0].unique()) == 8
    assert not torch.equal(token_priorities(states, valid, 1), token_priorities(states, valid, 0))


def test_the_sample_has_the_lowest_priorities_in_their_order():
    states, valid = drawn()
    priorities = token_priorities(states, valid, 0)
    lowest = priorities.flatten().argsort()[:37]
    first, second = offered(37, states, priorities).features()
    assert torch.equal(first, states.flatten(0, 1)[lowest])
    assert torch.equal(second, 2 * first[:, :3])


def test_batches_in_any_order_have_one_sample():
    states, valid = drawn()
    priorities = token_priorities(states, valid, 0)
    whole = offered(101, states, priorities)
    expected = whole.features()
    cuts = [slice(0, 1), slice(1, 4), slice(4, 8)]
    for order in permutations(cuts):
        sample = TokenSample(101)
        for cut in order:
            offer(sample, states[cut], priorities[cut])
        assert sample.offered == whole.offered == 400
        assert not sample.whole
        for mine, other in zip(sample.features(), expected, strict=True):
            assert torch.equal(mine, other)


def test_batches_and_a_part_of_the_sample():
    states, valid = drawn()
    priorities = token_priorities(states, valid, 0)
    sample = TokenSample(400)
    for index in range(8):
        sample.add([states[index]], priorities[index])
    assert sample.whole
    (some,) = sample.features(at_most=30)
    (every,) = sample.features()
    assert torch.equal(every[:30], some)
    assert torch.equal(every, states.flatten(0, 1)[priorities.flatten().argsort()])


def test_an_empty_sample_has_no_features():
    assert TokenSample(5).features() == []
    assert len(TokenSample(5)) == 0
