"""Each estimator of `similarity` is declared once, and what its declaration names is there."""

from __future__ import annotations

import inspect

import pytest

from spectrakit.analyses.similarity.compared import compared
from spectrakit.analyses.similarity.estimators import BY_NAME
from spectrakit.analyses.similarity.options import ESTIMATORS, SimilarityOptions
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.options import settings

OPTIONS = {setting.name for setting in settings(SimilarityOptions)}
COLUMNS = {column.name: column for column in SIMILARITY.columns}


def test_every_name_that_the_command_line_takes_is_declared():
    assert tuple(BY_NAME) == ESTIMATORS


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_it_follows_is_an_option_and_what_it_writes_a_column(name):
    own = BY_NAME[name]
    assert {*own.decided_by, *own.written} <= OPTIONS
    assert set(own.written) <= set(COLUMNS)
    keywords = list(inspect.signature(own.of).parameters)[2:]
    assert set(keywords) == {*own.decided_by, *own.written}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_it_is_in_the_documentation_and_in_a_picture(name):
    own = BY_NAME[name]
    assert f"{name} ({own.meaning})" in COLUMNS["estimator"].meaning
    assert own.adjacent or own.square is not None


def test_those_in_the_terminal_have_headings_of_their_own():
    headings = [own.heading[0] for own in BY_NAME.values() if own.heading is not None]
    assert len(headings) == len(set(headings)) > 0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_numbers_of_two_runs_are_subtracted_only_where_what_decides_them_is_the_same(name):
    row = {"estimator": name, "token_set": "all", "coordinates": "all"}
    (summary,) = compared().summaries
    found = summary.conditions(row, {f"similarity.{option}": 1 for option in OPTIONS})
    decided_by = {option.removeprefix("similarity.") for option, _ in found["other-option"]}
    assert decided_by == {"without_first", *BY_NAME[name].decided_by}
