"""Distances of decay rates, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.comparison.decay_distance import decay_distance, resolution
from spectrakit.tables.distribution import Distribution


def layer(rates, counts=None):
    rates = np.asarray(rates, dtype=np.float64)
    counts = np.ones_like(rates) if counts is None else np.asarray(counts, dtype=np.float64)
    nothing = np.zeros_like(rates)
    return Distribution(nothing, rates, nothing, nothing, counts)


rates = st.lists(st.floats(1e-6, 1e2), min_size=1, max_size=20)


@given(rates)
def test_a_layer_is_at_no_distance_from_itself(values):
    assert decay_distance(layer(values), layer(values)).distance == 0


@given(rates, st.floats(1e-3, 1e3))
def test_all_rates_times_a_factor_is_its_logarithm_away(values, factor):
    found = decay_distance(layer(values), layer(np.array(values) * factor)).distance
    assert found == pytest.approx(abs(np.log10(factor)), rel=1e-9, abs=1e-12)


@given(rates, rates)
def test_it_is_the_area_between_the_distributions(one, other):
    x, y = np.log10(np.sort(one)), np.log10(np.sort(other))
    edges = np.sort(np.concatenate([x, y]))
    below = [np.searchsorted(each, edges[:-1], side="right") / len(each) for each in (x, y)]
    area = (np.abs(below[0] - below[1]) * np.diff(edges)).sum()
    found = decay_distance(layer(one), layer(other)).distance
    assert found == pytest.approx(area, rel=1e-9, abs=1e-12)


def test_counts_are_multiplicities():
    found = decay_distance(layer([0.1, 1.0], [3, 1]), layer([0.1, 0.1, 0.1, 1.0]))
    assert found.distance == pytest.approx(0, abs=1e-12)


def test_what_never_decays_and_what_is_gone_stand_beside():
    found = decay_distance(layer([-0.2, 0, 0.1, np.inf]), layer([0.1, 0.1]))
    assert found.distance == 0
    assert found.never == (0.5, 0)
    assert found.gone == (0.25, 0)


def test_without_a_finite_rate_there_is_no_distance():
    assert decay_distance(layer([0.0]), layer([0.1])).distance is None


def test_a_percent_of_a_rate_is_so_many_decades():
    assert 10 ** resolution(0.0, binned=True) == pytest.approx(1.01)
    # 1 % less is further off than 1 % more.
    assert 10 ** -resolution(0.01, binned=False) == pytest.approx(0.99)
    assert str(resolution(0.0, binned=False)) == "0.0"  # and no negative zero
    assert resolution(np.inf, binned=False) == np.inf
