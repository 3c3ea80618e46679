from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.display.time_axis import time_axis
from spectrakit.tables.distribution import Distribution

RATES = st.floats(-1e3, 1e12, allow_subnormal=False) | st.just(np.inf) | st.just(0.0)


def eigenvalues(rates):
    rates = np.asarray(rates, float)
    zeros = np.zeros(len(rates))
    return Distribution(zeros, rates, zeros, zeros, zeros + 1)


def axis_of(rates):
    return time_axis(eigenvalues(rates), -2, 7, growth="|λ|>1")


@given(st.lists(RATES, min_size=1, max_size=40))
def test_every_eigenvalue_is_in_a_cell_on_the_axis(rates):
    found = eigenvalues(rates)
    axis = time_axis(found, -2, 7, growth="|λ|>1")
    cells = axis.cells(3, found)
    assert sum(cell["share"] for cell in cells) == pytest.approx(1)
    assert all(cell["layer"] == 3 for cell in cells)
    assert all(cell["x0"] >= axis.left - 1e-6 for cell in cells)
    assert all(cell["x1"] <= axis.right + 1e-6 for cell in cells)
    for centre in axis.centres(found.timescale):
        assert any(cell["x0"] - 1e-6 <= centre <= cell["x1"] + 1e-6 for cell in cells)


@given(st.lists(RATES, min_size=1, max_size=40))
def test_labels_lie_on_the_axis_and_keep_apart(rates):
    axis = axis_of(rates)
    at = sorted(axis.labels)
    assert at
    assert axis.left <= at[0]
    assert at[-1] <= axis.right
    assert min(np.diff(at), default=1) > 0.06 * axis.span


def test_what_has_no_timescale_has_a_place_only_where_it_occurs():
    labels = axis_of([0.1, 0.01]).labels
    assert list(labels.values()) == ["10", "20", "50", "100", "200"]
    assert list(labels) == pytest.approx(np.log10([10, 20, 50, 100, 200]))
    assert set(axis_of([1e-3, 1, np.inf, 0, -1]).labels.values()) >= {"0", "10", "∞", "|λ|>1"}


def test_the_axis_stays_within_its_limits():
    axis = axis_of([1e-30, 1e30, 1.0])
    assert (axis.low, axis.high) == (0, 1)
    assert axis.forgets
    assert axis.keeps
    assert not axis.grows
