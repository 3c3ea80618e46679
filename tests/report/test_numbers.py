from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.display.numbers import humanise, near_one, percent, ranges, text_read


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0312, "0.031"),
        (4.18, "4.2"),
        (37.2, "37"),
        (99.7, "100"),
        (211, "211"),
        (999.6, "1k"),
        (1234, "1.2k"),
        (45_300, "45k"),
        (123_456, "123k"),
        (3.14e6, "3.1M"),
        (2e9, "2G"),
        (2.3e-5, "2e-5"),
        (4e15, "4e15"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (-4.18, "-4.2"),
    ],
)
def test_humanise(value, text):
    assert humanise(value) == text


@given(st.floats(1e-6, 1e15))
def test_humanised_numbers_are_short_and_close(value):
    text = humanise(value)
    assert len(text) <= 5
    suffixes = {"k": 1e3, "M": 1e6, "G": 1e9}
    number = float(text.rstrip("kMG")) * suffixes.get(text[-1], 1)
    assert number == pytest.approx(value, rel=0.5 if "e" in text else 0.06)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (0.8571, "0.857"),
        (0.9994, "0.999"),
        (0.99951, "1-4.9e-04"),
        (1 - 2.3e-5, "1-2.3e-05"),
        (1, "1"),
        (1 + 1e-7, "1+1.0e-07"),
        (1.079, "1.079"),
        (12.34, "12"),
    ],
)
def test_near_one(value, text):
    assert near_one(value) == text


@given(st.floats(0, 2).filter(lambda value: value != 1))
def test_no_modulus_but_one_is_printed_as_one(value):
    assert near_one(value) not in {"1", "1.000"}


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0"),
        (1e-9, "<0.1%"),
        (0.001, "0.1%"),
        (0.0625, "6.2%"),
        (0.5964, "59.6%"),
        (0.9992, ">99.9%"),
        (1, "100%"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_share_is_only_nothing_or_everything_if_it_is(share):
    assert percent(share) not in {"0", "0.0%", "100%", "100.0%"}


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([4], "4"), ([0, 1], "0-1"), ([0, 1, 2, 5, 7, 8], "0-2, 5, 7-8")],
)
def test_ranges(numbers, text):
    assert ranges(numbers) == text


def test_what_was_read_is_counted_in_words():
    assert text_read(8192, 16) == "8,192 tokens in 16 sequences"
    assert text_read(1, 1) == "1 token in 1 sequence"
    assert text_read(None, None) == ""
