"""Prompts of probe that are too long: found before any is run, and how many items would fit."""

from __future__ import annotations

import pytest

from spectrakit.analyses.base import Request
from spectrakit.analyses.probe.analysis import Probe
from spectrakit.analyses.probe.options import ProbeOptions
from spectrakit.analyses.probe.prompts import prompts_asked
from spectrakit.errors import UsageError
from spectrakit.progress import Silent
from spectrakit.prompts import PromptRunner
from spectrakit.tables import Manifest, MemorySink

MANIFEST = Manifest(model_id="m", revision="r", mode="data")


class Short:
    """Takes so many tokens, and cannot be run."""

    vocabulary_size = 256

    def __init__(self, most_tokens):
        self.most_tokens = most_tokens


def options(pairs):
    return ProbeOptions(prompts=120, pairs=pairs)


def length(pairs):
    """In bytes. Keys and values are uuids, so all prompts of so many pairs have one length."""
    (found,) = {len(p.text) + len(p.answer) for p in prompts_asked(options(pairs), 0)}
    return found


def check(pairs, most_tokens):
    runner = PromptRunner(Short(most_tokens), str.encode, 2, Silent())
    Probe(MemorySink(MANIFEST), Request(options(pairs))).check_prompts(runner)


@pytest.mark.parametrize("spare", [-1, 0])
@pytest.mark.parametrize("fitting", [3, 5, 8])
def test_says_how_many_items_fit(fitting, spare):
    most = length(fitting) + spare
    with pytest.raises(UsageError, match=f"the model takes {most:,} at most") as caught:
        check(9, most)
    assert caught.value.hint == f"pairs={fitting + spare}"
    check(fitting + spare, most)


@pytest.mark.parametrize("pairs", [2, 9])
def test_says_where_no_number_of_items_fits(pairs):
    with pytest.raises(UsageError) as caught:
        check(pairs, length(2) - 1)
    assert caught.value.hint == "a model that takes longer sequences: even two items are too long"


def test_has_nothing_against_prompts_that_fit_exactly():
    check(9, length(9))
    check(9, None)  # nothing limits this model
