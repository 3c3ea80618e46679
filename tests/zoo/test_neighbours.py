"""Nearest neighbours and closest pairs, against all distances at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from spectrakit.zoo.neighbours import neighbours

CELL = 0.25


def cumulated(counts):
    """Shares up to each cell, of counts (n, cells)."""
    counts = np.asarray(counts, float)
    return (np.cumsum(counts, 1) / counts.sum(1, keepdims=True)).astype(np.float32)


def brute_force(below, kinds):
    """All distances of different kinds, inf elsewhere."""
    below = below.astype(float)
    distance = CELL * np.abs(below[:, None] - below[None]).sum(-1)
    kinds = np.array(kinds)
    return np.where(kinds[:, None] == kinds[None], np.inf, distance)


def closest_pairs(distance, kinds):
    """Of each two kinds the closest two, closest first."""
    found = {}
    n = len(kinds)
    for pair in sorted((distance[i, j], i, j) for i in range(n) for j in range(i + 1, n)):
        if np.isfinite(pair[0]):
            found.setdefault(frozenset(kinds[i] for i in pair[1:]), pair)
    return list(found.values())


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 8), st.integers(0, 12))
def test_they_are_those_of_all_distances(seed, runs, models, most):
    random = np.random.default_rng(seed)
    counts = random.integers(0, 4, (runs, 20)) * (random.random((runs, 20)) < 0.3)
    counts[np.arange(runs), random.integers(0, 20, runs)] += 1
    below, kinds = cumulated(counts), [f"m{k}" for k in random.integers(0, models, runs)]
    distance = brute_force(below, kinds)
    found = neighbours(below, CELL, kinds, most)
    assert found.distance == pytest.approx(distance.min(1), abs=1e-5)
    for one, nearest in enumerate(found.nearest):
        if nearest < 0:
            assert np.isinf(distance[one]).all()
        else:
            assert distance[one, nearest] == pytest.approx(distance[one].min(), abs=1e-5)
    pairs = closest_pairs(distance, kinds)[:most]
    assert [p[0] for p in found.pairs] == pytest.approx([p[0] for p in pairs], abs=1e-5)
    for value, one, other in found.pairs:
        assert one < other
        assert value == pytest.approx(distance[one, other], abs=1e-5)


def test_a_distance_is_that_of_the_cells():
    counts = np.random.default_rng(0).integers(0, 9, (2, 50))
    found = neighbours(cumulated(counts), CELL, ["a", "b"], 1)
    x = CELL * np.arange(50)
    assert found.pairs[0][0] == pytest.approx(wasserstein_distance(x, x, *counts), rel=1e-5)


def test_equal_ones_are_at_no_distance_and_the_first_is_nearest():
    below = cumulated(np.ones((40, 8)))
    found = neighbours(below, CELL, [f"m{i:02}" for i in range(40)], 3)
    assert (found.distance == 0).all()
    assert found.nearest.tolist() == [1] + [0] * 39
    assert found.pairs == [(0.0, 0, 1), (0.0, 0, 2), (0.0, 0, 3)]


def test_one_model_has_no_neighbours():
    for runs in (1, 5):
        found = neighbours(cumulated(np.eye(runs, 6)), CELL, ["m"] * runs, 3)
        assert (found.nearest == -1).all()
        assert found.pairs == []


def test_the_order_does_not_matter():
    random = np.random.default_rng(1)
    below = cumulated(random.random((60, 30)) ** 8)
    kinds = [f"m{i // 2}" for i in range(60)]
    one = neighbours(below, CELL, kinds, 10)
    order = random.permutation(60)
    two = neighbours(below[order], CELL, [kinds[i] for i in order], 10)
    assert (two.distance == one.distance[order]).all()
    assert [p[0] for p in two.pairs] == [p[0] for p in one.pairs]


def test_most_of_many_are_never_compared(monkeypatch):
    """Two thousand models in a row: each has two neighbours, and few others are looked at."""
    from spectrakit.zoo import neighbours as module

    compared = 0
    real = module._Search._compare

    def counting(self, one, other):
        nonlocal compared
        compared += len(one)
        real(self, one, other)

    monkeypatch.setattr(module._Search, "_compare", counting)
    below = cumulated(np.eye(2000, 2000)).astype(np.float32)
    found = neighbours(below, CELL, [f"m{i}" for i in range(2000)], 5)
    assert (found.distance == CELL).all()
    assert compared < 5 * 2000
