"""Read-outs of a white input's past: against the memory function that a linear recurrence has."""

from __future__ import annotations

import pytest
import torch

from spectrakit.representations.delay_regression import DelayRegression, TooFewSamplesError

DELAYS = tuple(range(40))


def white(batch, tokens, seed=0):
    return torch.randn(
        batch, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def diagonal_states(decays, inputs):
    """h_t = diag(decays) h_{t-1} + 1 u_t: (B, T, N)."""
    states, h = [], torch.zeros(len(inputs), len(decays), dtype=decays.dtype)
    for t in range(inputs.shape[1]):
        h = decays * h + inputs[:, t, None]
        states.append(h)
    return torch.stack(states, 1)


def exact_memory(decays):
    """MF of an infinite past, from the Gramian: fine for a few well separated decays."""
    gram = 1 / (1 - decays[:, None] * decays)
    powers = decays ** torch.tensor(DELAYS)[:, None]
    return torch.einsum("dn,nm,dm->d", powers, torch.linalg.inv(gram), powers)


def test_recovers_the_memory_function_of_a_recurrence():
    decays = torch.tensor([0.95, 0.7, 0.2, -0.5, -0.9], dtype=torch.float64)
    inputs = white(16, 4000)
    regression = DelayRegression(DELAYS)
    regression.add(diagonal_states(decays, inputs)[:, 400:], inputs[:, 400:])
    found = regression.recovered()
    # The error of a share of variance from n samples is about 1 / sqrt(n).
    torch.testing.assert_close(found.value, exact_memory(decays), rtol=0, atol=0.01)
    assert float(found.value.sum()) == pytest.approx(float(exact_memory(decays).sum()), abs=0.1)
    assert found.dimension == pytest.approx(5, abs=1e-3)
    assert 0 < found.threshold < 0.01


def test_what_is_not_remembered_is_zero_without_bias():
    """As many features as a fifth of the samples: without the correction R^2 would be -0.25."""
    values = []
    for seed in range(20):
        regression = DelayRegression((0, 1, 2), seed)
        features = torch.randn(
            4, 252, 100, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        regression.add(features, white(4, 252, seed + 100))
        found = regression.recovered()
        assert found.samples == 500
        values.append(found.value)
        assert float(found.value.max()) < found.threshold
    assert float(torch.stack(values).mean()) == pytest.approx(0, abs=0.03)


def test_a_delay_line_is_recovered_exactly():
    inputs = white(4, 300)
    line = torch.stack([inputs.roll(k, 1) for k in range(8)], -1)
    regression = DelayRegression(range(12))
    regression.add(line[:, 8:], inputs[:, 8:])
    found = regression.recovered().value
    torch.testing.assert_close(found[:8], torch.ones(8, dtype=torch.float64))
    assert float(found[8:].abs().max()) < 0.05


def test_merging_is_seeing_all_of_it():
    decays = torch.tensor([0.9, 0.3], dtype=torch.float64)
    parts = [white(4, 500, seed) for seed in range(3)]
    together = DelayRegression(DELAYS)
    for inputs in parts:
        together.add(diagonal_states(decays, inputs), inputs)
    shards = [DelayRegression(DELAYS, seed) for seed in range(3)]
    for shard, inputs in zip(shards, parts, strict=True):
        shard.add(diagonal_states(decays, inputs), inputs)
    merged = shards[2]
    merged.merge(shards[0])
    merged.merge(shards[1])
    found, expected = merged.recovered(), together.recovered()
    torch.testing.assert_close(found.value, expected.value, rtol=0, atol=1e-12)


def test_too_few_samples_are_said():
    regression = DelayRegression((0, 1))
    with pytest.raises(TooFewSamplesError, match="0 samples"):
        regression.recovered()
    regression.add(torch.randn(2, 20, 30), torch.randn(2, 20))
    with pytest.raises(TooFewSamplesError, match="19 samples for 30 read-outs"):
        regression.recovered()
