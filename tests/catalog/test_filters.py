"""Entries chosen by a pattern, and by what is known of them."""

from __future__ import annotations

import pytest

from spectrakit import catalog
from spectrakit.catalog import CatalogFilters, matching
from spectrakit.catalog.filters import selected
from spectrakit.catalog.records import Record
from spectrakit.catalog.sizes import parameters_of, size_of
from spectrakit.errors import UsageError
from spectrakit.verification.writing import record

OWN = """
[models.zz-small]
description = "small"
repo = "zz/Small-One"
parameters = 1000
gated = false
smallest = true

[models.zz-large]
description = "large"
repo = "zz/large"
parameters = 1001
gated = true

[models.zz-unknown]
description = "of unknown size"
repo = "zz/unknown"
"""


@pytest.fixture(autouse=True)
def _entries(own):
    own("zz", OWN)


def names(pattern="zz-*", **filters):
    return [entry.name for entry in matching(pattern, CatalogFilters(**filters))]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("zz-*", ["zz-small", "zz-large", "zz-unknown"]),
        ("zz/*", ["zz-small", "zz-large", "zz-unknown"]),
        ("ZZ/small-*", ["zz-small"]),
        ("zz-?arge", ["zz-large"]),
        ("zz-[lu]*", ["zz-large", "zz-unknown"]),
        ("zz-small", ["zz-small"]),
        ("zz/Small-One", ["zz-small"]),
        ("zz", []),
    ],
)
def test_patterns_are_of_names_and_repositories_in_any_case(pattern, found):
    assert names(pattern) == found


def test_nothing_asked_for_is_everything():
    assert matching() == catalog.entries()


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"family": "zz"}, ["zz-small", "zz-large", "zz-unknown"]),
        ({"family": "mamba"}, []),
        ({"bundled": True}, []),
        ({"bundled": False}, ["zz-small", "zz-large", "zz-unknown"]),
        ({"smallest": True}, ["zz-small"]),
        ({"verified": True}, []),
        ({"verified": False}, ["zz-small", "zz-large", "zz-unknown"]),
    ],
)
def test_filters(filters, found):
    assert names(**filters) == found


@pytest.mark.parametrize(
    ("filters", "found", "what"),
    [
        ({"max_size": 1000}, ["zz-small"], "number of parameters"),
        ({"max_size": 1001}, ["zz-small", "zz-large"], "number of parameters"),
        ({"gated": False}, ["zz-small"], "gating"),
        ({"gated": True}, ["zz-large"], "gating"),
    ],
)
def test_what_is_not_known_is_left_out_and_a_note_says_so(caplog, filters, found, what):
    caplog.set_level("INFO", "spectrakit")
    assert names(**filters) == found
    (note,) = caplog.messages
    assert note == f"1 entry left out, whose {what} is not known: zz-unknown"


def test_what_was_seen_is_known(own, caplog):
    caplog.set_level("INFO", "spectrakit")
    seen = Record("zz/unknown", "https://hub", "2026-01-02T03:04:05Z", parameters=5, gated=True)
    record(own(), "zz-unknown", seen)
    assert names(max_size=999) == ["zz-unknown"]
    assert names(gated=True) == ["zz-large", "zz-unknown"]
    assert names(verified=True) == ["zz-unknown"]
    assert caplog.messages == []


def test_bundled_models_are_verified_by_being_there():
    assert {entry.name for entry in matching("tiny-*", CatalogFilters(verified=True))} == {
        "tiny-llama",
        "tiny-mamba",
        "tiny-mamba2",
    }


def test_an_unknown_family_is_told():
    with pytest.raises(UsageError, match="no family 'mambo'") as caught:
        names(family="mambo")
    assert caught.value.hint == "did you mean mamba?"


def test_several_patterns_give_each_entry_once():
    found = selected(["zz-large", "zz-*", "zz/large"])
    assert [entry.name for entry in found] == ["zz-large", "zz-small", "zz-unknown"]


def test_a_pattern_that_nothing_matches_is_told():
    with pytest.raises(UsageError, match="no entry of the catalog matches 'zz-smal'") as caught:
        selected(["zz-small", "zz-smal"])
    assert caught.value.hint == "did you mean zz-small?"
    with pytest.raises(UsageError) as caught:
        selected(["####"])
    assert caught.value.hint == "spectrakit catalog list"


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("130M", 130_000_000),
        ("2.8B", 2_800_000_000),
        ("2.8b", 2_800_000_000),
        ("0.5 T", 500_000_000_000),
        ("70k", 70_000),
        ("12345", 12_345),
    ],
)
def test_sizes(text, parameters):
    assert parameters_of(text) == parameters


@pytest.mark.parametrize("text", ["", "B", "-1B", "1e9", "2.8GB", "1.B", "٣B", "1B1", "1_000"])
def test_what_is_no_size_is_told(text):
    with pytest.raises(UsageError, match="not a number of parameters"):
        parameters_of(text)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [(7, "7"), (999, "999"), (229_440, "229K"), (999_600, "1M"), (7_272_665_088, "7.27B")],
)
def test_sizes_are_shown_in_three_digits(parameters, text):
    assert size_of(parameters) == text
