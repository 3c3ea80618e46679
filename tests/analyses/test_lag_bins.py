"""Bins of lags: every lag in one, and the wide ones made of the narrow ones."""

from __future__ import annotations

import numpy as np
import pytest

from spectrakit.analyses.kernel.lag_bins import ROWS, SUMS


@pytest.mark.parametrize(("bins", "widest"), [(ROWS, 1.13), (SUMS, 1.012)])
def test_every_lag_is_in_the_bin_that_says_so(bins, widest):
    lags = np.arange(200_000)
    places = bins.of(lags)
    assert ((bins.first(places) <= lags) & (lags <= bins.last(places))).all()
    found = np.unique(places)
    low, high = bins.first(found), bins.last(found)
    assert (low[1:] == high[:-1] + 1).all()
    assert (high / np.maximum(low, 1) < widest).all()
    assert (low[: bins.single] == high[: bins.single]).all()


def test_a_row_of_the_tables_is_made_of_whole_bins():
    narrow = np.unique(SUMS.of(np.arange(200_000)))
    assert (ROWS.of(SUMS.first(narrow)) == ROWS.of(SUMS.last(narrow))).all()


def test_a_bin_does_not_depend_on_which_lags_are_asked_for():
    lags = np.arange(5000)
    alone = [int(SUMS.of(np.array([lag]))[0]) for lag in lags[::37]]
    assert alone == SUMS.of(lags)[::37].tolist()
