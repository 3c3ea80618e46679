"""Intervals of proportions, for observations that come in sources."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.representations.proportions import effective_size, interval


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (40, 200)])
def test_ends_are_where_the_score_test_begins_to_reject(successes, count):
    right = np.arange(count) < successes
    low, high = interval(right, np.arange(count))
    share = successes / count
    for end in {low, high} - {0.0, 1.0}:
        assert abs(share - end) / (end * (1 - end) / count) ** 0.5 == pytest.approx(1.959964)
    assert (low == 0) == (share == 0)
    assert (high == 1) == (share == 1)
    assert low <= share <= high


def test_sources_whose_prompts_agree_count_once():
    right = np.repeat([True, True, False, True], 25)
    names = np.repeat(["a", "b", "c", "d"], 25)
    assert effective_size(right, names) == 4
    assert interval(right, names) == interval(right[::25], names[::25])


def test_no_more_than_the_observations_and_no_less_than_the_sources():
    # Each source has just as many successes: less spread than chance has.
    assert effective_size(np.tile([True, False], 50), np.repeat(np.arange(50), 2)) == 100
    # All right: nothing tells how alike sources are.
    assert effective_size(np.ones(100, bool), np.repeat(np.arange(50), 2)) == 50
    assert effective_size(np.tile([True, False], 50), np.zeros(100)) == 1


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=9))
def test_is_an_interval_around_the_share(groups):
    right = np.concatenate([np.array(group) for group in groups])
    names = np.concatenate([np.full(len(group), n) for n, group in enumerate(groups)])
    low, high = interval(right, names)
    assert 0 <= low <= right.mean() <= high <= 1
    assert low < high
    assert len(groups) <= effective_size(right, names) <= len(right)


def test_covers_the_truth_as_often_as_it_says():
    """Sources are right or wrong with shares of their own, 0.7 on average."""
    draw = np.random.default_rng(0)
    names = np.repeat(np.arange(40), 5)
    covered = 0
    for _ in range(400):
        shares = draw.beta(1.4, 0.6, size=40)
        low, high = interval(draw.random(200) < shares.repeat(5), names)
        covered += low <= 0.7 <= high
    assert 0.92 < covered / 400 < 0.985
