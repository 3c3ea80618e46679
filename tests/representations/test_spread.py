"""The fast forms against loops over pairs in float64."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from spectrakit.representations import spread
from spectrakit.representations.spread import lengths
from spectrakit.representations.token_sets import BatchTokens


def tokens_of(*counts, length=None):
    length = length or max(counts)
    return BatchTokens(torch.arange(length) < torch.tensor(counts)[:, None])


def found(states, tokens):
    states = tokens.without_padding(states)
    norms = lengths(states)
    variance = spread.token_variance(states, tokens)
    energy = spread.dirichlet_energy(states, tokens)
    square = spread.mean_square(norms, tokens)
    return torch.stack([
        spread.inter_token_cosine(states, norms, tokens),
        variance,
        energy,
        spread.normalised(variance, square),
        spread.normalised(energy, square),
    ]).numpy()  # fmt: skip


def directly(h):
    """The same of one sequence (n, E), from the definitions."""
    n = len(h)
    h = h.double().numpy()
    unit = h / np.linalg.norm(h, axis=1, keepdims=True)
    cosine = np.mean([unit[i] @ unit[j] for i, j in itertools.combinations(range(n), 2)])
    variance = ((h - h.mean(0)) ** 2).sum(1).mean()
    energy = ((h[1:] - h[:-1]) ** 2).sum(1).mean()
    square = (h**2).sum(1).mean()
    return np.array([cosine, variance, energy, variance / square, energy / square])


def with_a_sink(h):
    h = h.clone()
    h[:, 0] *= 1e3
    return h


STATES = torch.randn(3, 17, 40, generator=torch.Generator().manual_seed(0))
MADE = {
    "independent": STATES,
    "nearly the same": 100 + 0.1 * STATES,
    "a huge first token": with_a_sink(STATES + 0.5),
    "both": with_a_sink(10 + 0.1 * STATES),
    "half precision": (STATES + 1).bfloat16(),
    "float64": STATES.double(),
}


@pytest.mark.parametrize("name", MADE)
def test_the_fast_forms_are_the_definitions(name):
    states, counts = MADE[name], (17, 9, 3)
    values = found(states, tokens_of(*counts))
    for index, count in enumerate(counts):
        for which in (0, 1):
            expected = directly(states[index, which:count])
            np.testing.assert_allclose(values[:, index, which], expected, rtol=2e-5, atol=1e-6)


def test_what_lies_in_padding_does_not_matter():
    tokens = tokens_of(17, 9, 3)
    states = STATES.clone()
    expected = found(states, tokens)
    states[~tokens.valid] = math.nan
    np.testing.assert_array_equal(found(states, tokens), expected)


def test_padding_may_lie_before_the_text():
    right = tokens_of(9, 9, 9, length=17)
    states = STATES.clone()
    moved = states.roll(8, 1)
    left = BatchTokens(right.valid.roll(8, 1))
    np.testing.assert_allclose(found(moved, left), found(states, right), rtol=1e-6)


def test_independent_tokens_have_energy_two_and_variance_one():
    states = torch.randn(1, 2000, 64, generator=torch.Generator().manual_seed(1))
    cosine, _, _, variance, energy = found(states, tokens_of(2000))[:, 0, 0]
    assert abs(cosine) < 1e-3
    assert variance == pytest.approx(1, abs=2e-3)
    assert energy == pytest.approx(2, abs=2e-2)


def test_tokens_that_are_all_the_same():
    cosine, variance, energy, relative, _ = found(torch.ones(1, 50, 8), tokens_of(50))[:, 0, 0]
    assert cosine == pytest.approx(1, abs=1e-6)
    assert variance == pytest.approx(0, abs=1e-10)
    assert energy == 0
    assert relative == pytest.approx(0, abs=1e-10)


def test_what_too_few_tokens_or_zeros_do_not_have_is_nan():
    values = found(STATES, tokens_of(0, 1, 2, length=17))
    assert np.isnan(values[:, 0]).all()
    assert np.isnan(values[:, 1]).all()
    assert np.isfinite(values[:, 2, 0]).all()
    assert np.isnan(values[:, 2, 1]).all()
    cosine, variance, energy, *relative = found(torch.zeros(1, 4, 5), tokens_of(4))[:, 0, 0]
    assert (variance, energy) == (0, 0)
    assert np.isnan([cosine, *relative]).all()


def test_a_token_at_zero_has_no_cosine_and_spoils_none():
    states = STATES[:1].clone()
    states[:, 4] = 0
    kept = torch.cat([states[:, :4], states[:, 5:]], 1)
    (cosine, *_), (expected, *_) = found(states, tokens_of(17)), found(kept, tokens_of(16))
    np.testing.assert_allclose(cosine, expected, rtol=1e-6)
