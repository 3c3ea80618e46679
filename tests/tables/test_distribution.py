from __future__ import annotations

import numpy as np
import pytest

from spectrakit.tables.distribution import distribution
from tests.report.synthetic import SyntheticRun, mamba, mamba_continuous, s4d

RATE = np.array([0.01, 0.5, 3.0])


def test_a_histogram_stands_for_its_eigenvalues_within_a_percent():
    run = SyntheticRun("m").layer(RATE, multiplicity=5, exact=False).run
    found = distribution(run, "discrete")
    assert np.sort(found.decay_rate) == pytest.approx(RATE, rel=0.01)
    assert found.count.tolist() == [5, 5, 5]
    assert found.real == pytest.approx(np.exp(-found.decay_rate))
    assert not found.imaginary.any()


def test_the_exact_counters_of_a_histogram_stay_exact():
    rate = np.array([0.0, np.inf, -0.5])
    found = distribution(SyntheticRun("m").layer(rate, exact=False).run, "discrete")
    at = dict(zip(found.decay_rate.tolist(), found.timescale.tolist(), strict=True))
    assert at[0.0] == np.inf
    assert at[np.inf] == 0
    (growing,) = (value for value in at.values() if value < 0)
    assert growing == pytest.approx(-2, rel=0.01)
    assert 1.0 in found.real
    assert 0.0 in found.real


def test_a_wide_bin_of_phase_is_spread_without_losing_any():
    run = SyntheticRun("m").layer(RATE, np.radians(32.0), exact=False).run
    found = distribution(run, "discrete", fine_phases=True)
    assert found.count.sum() == pytest.approx(3)
    degrees = np.degrees(np.arctan2(found.imaginary, found.real))
    assert degrees.min() >= 30
    assert degrees.max() <= 35
    assert len(np.unique(np.round(degrees, 6))) == 5


def test_exact_eigenvalues_are_taken_for_phases_that_are_finer_than_bins():
    run = SyntheticRun("m").layer(RATE, np.radians([-32.0, 0.5, 180.0]), mode="static").run
    found = distribution(run, "discrete", fine_phases=True)
    degrees = np.degrees(np.arctan2(found.imaginary, found.real))
    assert degrees == pytest.approx([-32, 0.5, 180])
    assert found.decay_rate.tolist() == RATE.tolist()


def test_layers_without_exact_eigenvalues_keep_their_histogram():
    made = SyntheticRun("m").layer(RATE, np.radians(32.0), mode="static")
    run = made.layer(RATE, np.radians(32.0), mode="data", exact=False).run
    found = distribution(run, "discrete", fine_phases=True)
    assert found.of_layer(0).count.tolist() == [1, 1, 1]
    assert found.of_layer(1).count.sum() == pytest.approx(3)
    assert len(found.of_layer(1).count) > 3


def test_heads_are_not_counted_twice():
    run = mamba(layers=2, channels=4)
    assert distribution(run, "discrete").count.sum() == 2 * 4 * 16


def test_continuous_time_has_its_own_eigenvalues():
    run = mamba_continuous(layers=2, channels=4)
    found = distribution(run, "continuous")
    assert found.real.tolist() == (-found.decay_rate).tolist()
    assert len(distribution(run, "discrete").count) == 0
    assert len(distribution(s4d(layers=1), "continuous").count) == 0
