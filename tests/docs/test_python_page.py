"""docs/python-api.md: every public name, argument and setting."""

from __future__ import annotations

import inspect
import re

import pytest

import spectrakit
from docs.refresh import ROOT
from spectrakit.builtin import ANALYSES
from spectrakit.errors import SpectrakitError
from spectrakit.options import settings
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions

PAGE = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")


def table(after):
    """The first two cells of each row of the table that follows `after`, without backquotes."""
    lines = re.search(r"\n((?:\|.*\n)+)", PAGE[PAGE.index(after) :])[1].splitlines()[2:]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in lines]
    return dict(rows)


@pytest.mark.parametrize("name", spectrakit.__all__)
def test_lists_the_public_name(name):
    assert re.search(rf"`{name}\b", PAGE)


@pytest.mark.parametrize(
    ("function", "after"),
    [
        (spectrakit.open_checkpoint, "`open_checkpoint` are those of the command line:"),
        (spectrakit.from_model, "Nothing is copied but what"),
        (spectrakit.analyze, "for row in summary.select"),
    ],
    ids=["open_checkpoint", "from_model", "analyze"],
)
def test_lists_its_arguments_with_their_defaults(function, after):
    defaults = {
        name: repr(parameter.default).replace("'", '"')
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not parameter.empty
    }
    assert {name: default for name, default in table(after).items() if default} == defaults


def test_lists_the_settings_of_a_run_with_their_defaults():
    defaults = {s.keyword: repr(s.default).replace("'", '"') for s in settings(RunSpec)}
    assert table("is `seq_len=256`") == defaults


def test_lists_the_options_of_analyses_with_their_keywords():
    kinds = [each.KIND for each in ANALYSES]
    groups = {group.__name__: group for kind in kinds for group in kind.options}
    rows = re.findall(r"^\| `(\w+Options)` \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(groups)
    for name, analyses, keywords in rows:
        group = groups[name]
        following = [kind.name for kind in kinds if group in kind.options]
        assert re.findall(r"`(\w+)`", analyses) == following
        assert re.findall(r"`(\w+)`", keywords) == [s.keyword for s in settings(group)]


def test_lists_the_token_options():
    sentence = re.search(r"`TokenOptions` has (.*?)\.\n", PAGE, re.DOTALL)[1]
    assert re.findall(r"`(\w+)`", sentence) == list(inspect.signature(TokenOptions).parameters)


def test_lists_the_errors_with_their_exit_codes():
    listed = table("`exit_code`.").items()
    found = {name: int(code) for names, code in listed for name in re.findall(r"\w+", names)}
    assert found == {error.__name__: error.exit_code for error in SpectrakitError.__subclasses__()}
