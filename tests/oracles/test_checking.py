"""What compares columns notices what is wrong, and records only what it compared."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tests.oracles.checking import ORACLES, Report, between, near, oracle
from tests.oracles.similarity_oracle import mantel


def test_mantels_variance_is_that_over_all_permutations():
    draw = np.random.default_rng(0)
    a, b = (m + m.T - 2 * np.diag(np.diag(m)) for m in draw.normal(size=(2, 6, 6)))
    all_of_them = [(a * b[np.ix_(p, p)]).sum() for p in permutations(range(6))]
    assert mantel(a, b) == pytest.approx(np.var(all_of_them), rel=1e-12)


class Rows:
    """A run of one table."""

    def __init__(self, *rows):
        self._rows = list(rows)

    def __repr__(self):
        return "run"

    def rows(self, _):
        return self._rows


RUN = Rows({"layer": 0, "x": 1.0, "why": None}, {"layer": 1, "x": -2.0, "why": "far"})
RIGHT = {"layer": [0, 1], "x": near([1.0, -2.0], rel=1e-9), "why": [None, "far"]}


def compared(run, expected, key="layer", where=None):
    report = Report()
    report.compare(run, "table", key=key, expected=expected, where=where)
    return report.compared


def test_what_agrees_is_recorded():
    assert compared(RUN, RIGHT) == {"table.layer", "table.x", "table.why"}
    assert compared(RUN, {"x": 1.0}, "", {"layer": 0}) == {"table.layer", "table.x"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": near([1.0, -2.1], rel=1e-3)}, r"table\.x at \{'layer': 1\} is -2\.0"),
        ({"x": between([0.0, 0.0], [0.5, 1.0])}, r"table\.x"),
        ({"x": [1.0, None]}, r"table\.x at \{'layer': 1\} is -2\.0, not None"),
        ({"why": ["near", "far"]}, r"table\.why at \{'layer': 0\} is None"),
        ({"why": [None, "near"]}, r"table\.why"),
        ({"layer": [0, 2]}, "lacks 1 rows"),
        ({"layer": [0], "x": [1.0], "why": [None]}, "1 more rows"),
    ],
)
def test_what_disagrees_fails(wrong, message):
    with pytest.raises(AssertionError, match=message):
        compared(RUN, RIGHT | wrong)


def test_rows_that_the_key_does_not_tell_apart_fail():
    with pytest.raises(AssertionError, match="do not tell rows apart"):
        compared(Rows({"layer": 0}, {"layer": 0}), {"layer": [0]})


def test_true_is_not_one():
    with pytest.raises(AssertionError, match="True"):
        compared(Rows({"layer": 0, "x": True}), {"layer": [0], "x": [1]})


@pytest.mark.parametrize(
    "nothing", [None, near(1.0, absolute=2.0), between(-np.inf, np.inf), near(np.nan)]
)
def test_what_anything_would_meet_is_not_recorded(nothing):
    value = None if nothing is None or nothing.low == [None] else 1.0
    assert compared(Rows({"layer": 0, "x": value}), {"layer": [0], "x": nothing}) == {"table.layer"}


def test_a_name_is_one_oracle_s():
    def flow(report, long):
        pass

    before = dict(ORACLES)
    try:
        oracle("table", "x")(oracle("other", "y z")(flow)) if "flow" not in ORACLES else None
        with pytest.raises(AssertionError, match="two oracles"):
            oracle("table", "x")(lambda: None) and oracle("table", "x")(lambda: None)
    finally:
        ORACLES.clear()
        ORACLES.update(before)
