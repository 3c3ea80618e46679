"""Read-outs of a white input's past: against the memory function that a linear recurrence has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrakit.representations.delay_regression import DelayRegression, TooFewSamplesError
from spectrakit.representations.ridge import RIDGES, Ridge, Samples

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
    assert float(found.dimension[0]) == pytest.approx(5, abs=1e-3)
    assert found.samples == 16 * (3600 - 39)
    assert 0 < found.threshold < 0.01


def test_what_is_not_remembered_is_zero_without_bias():
    """As many features as an eighth of the samples: unridged and uncorrected, R^2 is -0.15."""
    values = []
    for seed in range(20):
        regression = DelayRegression((0, 1, 2), seed)
        features = torch.randn(
            4, 252, 100, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        regression.add(features, white(4, 252, seed + 100))
        found = regression.recovered()
        assert found.samples == 1000
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


def test_too_few_samples_are_said():
    regression = DelayRegression((0, 1))
    with pytest.raises(TooFewSamplesError, match="0 sequences, which are too few to part in 3"):
        regression.recovered()
    regression.add(torch.randn(2, 20, 30), torch.randn(2, 20))
    with pytest.raises(TooFewSamplesError, match="2 sequences"):
        regression.recovered()
    regression.add(torch.randn(1, 20, 30), torch.randn(1, 20))
    with pytest.raises(TooFewSamplesError, match="38 samples for 30 read-outs"):
        regression.recovered()


def test_sequences_may_come_one_by_one():
    decays = torch.tensor([0.9, 0.3], dtype=torch.float64)
    inputs = white(6, 500)
    together, single = DelayRegression(DELAYS), DelayRegression(DELAYS)
    together.add(diagonal_states(decays, inputs), inputs)
    for sequence in inputs:
        single.add(diagonal_states(decays, sequence[None]), sequence[None])
    found, expected = single.recovered(), together.recovered()
    # The signals of the null are drawn in another order; what is read back is the same.
    torch.testing.assert_close(found.value, expected.value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tail", ["cauchy", "one token", "one sequence", "scales"])
def test_heavy_tails_neither_break_a_read_out_nor_hide_what_there_is(tail):
    """A linear recurrence among features whose size a few tokens decide."""
    generator = torch.Generator().manual_seed(3)
    inputs = white(16, 300)
    decays = torch.tensor([0.9, 0.5], dtype=torch.float64)
    states = diagonal_states(decays, inputs)
    others = torch.randn(16, 300, 40, generator=generator, dtype=torch.float64)
    if tail == "cauchy":
        others.cauchy_(generator=generator)
    elif tail == "one token":
        others[7, 200] = 1e6
    elif tail == "one sequence":
        others[5] *= 1e4
    else:
        others *= torch.logspace(-8, 8, 40, dtype=torch.float64)
    regression = DelayRegression((*DELAYS, 100))
    regression.add(torch.cat([states, others], -1), inputs)
    found = regression.recovered()
    assert float(found.value.min()) > -0.05
    assert 0 < found.threshold < 0.05
    torch.testing.assert_close(found.value[:8], exact_memory(decays)[:8], rtol=0, atol=0.05)


@pytest.mark.parametrize("distribution", ["normal", "cauchy", "lognormal"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_not_there_is_hardly_below_zero(distribution, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.empty(8, 120, 60, dtype=torch.float64)
    if distribution == "lognormal":
        features.normal_(generator=generator).mul_(3).exp_()
    else:
        getattr(features, f"{distribution}_")(generator=generator)
    regression = DelayRegression(range(20), seed)
    regression.add(features, white(8, 120, seed + 100))
    found = regression.recovered()
    assert float(found.value.min()) > -0.05
    assert float(found.value.max()) < 0.06
    assert found.threshold < 0.1


def test_a_signal_in_noise_is_found_as_far_as_the_noise_lets_it():
    """x = u + e with <e^2> = 3: R^2 = 1 / 4, from one feature, or from sixty and ridged."""
    inputs = white(16, 300)
    noise = 3**0.5 * white(16, 300, 1)
    seen = (inputs + noise).unsqueeze(-1)
    junk = torch.randn(16, 300, 60, generator=torch.Generator().manual_seed(2)).double()
    for features in (seen, torch.cat([seen, junk], -1)):
        regression = DelayRegression((0, 1))
        regression.add(features, inputs)
        found = regression.recovered()
        assert float(found.value[0]) == pytest.approx(0.25, abs=0.03)
        assert abs(float(found.value[1])) < found.threshold


def test_every_ridge_is_that_of_its_normal_equations():
    """Against (X^T X / n + r I)^{-1} X^T y / n in NumPy, samples and not sums."""
    generator = np.random.default_rng(0)
    fit = [generator.standard_normal((50, 6)) @ np.diag([1, 10, 0.1, 1, 1, 0]), None]
    fit[1] = fit[0] @ generator.standard_normal((6, 3)) + generator.standard_normal((50, 3)) + 2
    new = [generator.standard_normal((30, 6)) + 0.5, generator.standard_normal((30, 3))]
    ridge = Ridge.of(Samples.of(*map(torch.tensor, fit)))
    found, lost = ridge.errors(Samples.of(*map(torch.tensor, new))), ridge.lost()
    mean, deviation = fit[0].mean(0), fit[0].std(0)
    deviation[5] = np.inf  # it is left out
    standard, later = (fit[0] - mean) / deviation, (new[0] - mean) / deviation
    correlation = standard.T @ standard / 50
    for index, each in enumerate(RIDGES):
        inverse = np.zeros((6, 6)) if each == np.inf else np.linalg.pinv(
            correlation + each * np.diag([1, 1, 1, 1, 1, 0])
        )  # fmt: skip
        weights = inverse @ standard.T @ (fit[1] - fit[1].mean(0)) / 50
        error = ((new[1] - fit[1].mean(0) - later @ weights) ** 2).sum(0)
        np.testing.assert_allclose(found[index], error, rtol=1e-9)
        smoothed = inverse @ correlation
        assert float(lost[index]) == pytest.approx(np.trace(smoothed @ smoothed), abs=1e-9)
