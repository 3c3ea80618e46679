"""Memory that children of one fork server share: each waits until there is room for it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.zoo.forkserver import served


@dataclass
class Child:
    wants: int
    granted: int = 0

    def grant(self):
        self.granted, self.wants = self.wants, 0


def serve(children, total):
    for child in served(children, total):
        child.grant()
    return [child.granted for child in children]


@pytest.mark.parametrize(
    ("wants", "granted"),
    [
        ([60, 30, 30], [60, 30, 0]),
        ([60, 50, 30], [60, 0, 30]),
        ([200, 10], [200, 0]),  # more than there is: alone
        ([0, 0], [0, 0]),
    ],
)
def test_those_are_served_that_there_is_room_for(wants, granted):
    assert serve([Child(each) for each in wants], 100) == granted


def test_one_that_ends_makes_room():
    children = [Child(60), Child(50)]
    assert serve(children, 100) == [60, 0]
    assert serve(children[1:], 100) == [50]


@given(st.lists(st.integers(0, 150), max_size=8))
def test_no_more_is_granted_than_there_is_unless_to_one_alone_and_somebody_always_runs(wants):
    granted = serve([Child(each) for each in wants], 100)
    assert sum(granted) <= 100 or sum(each > 0 for each in granted) == 1
    assert any(granted) == any(wants)
