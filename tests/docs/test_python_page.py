"""docs/python-api.md: every public name, and every argument of the two functions."""

from __future__ import annotations

import inspect
import re

import pytest

import spectrakit
from docs.refresh import ROOT
from spectrakit.errors import SpectrakitError
from spectrakit.tokens import TokenOptions

PAGE = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")


def rows(*, after):
    """The first cells of the table that follows `after`, without their backquotes."""
    table = re.search(r"\n((?:\|.*\n)+)", PAGE[PAGE.index(after) :])[1]
    cells = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    return [cell.strip("`") for cell in cells]


@pytest.mark.parametrize("name", spectrakit.__all__)
def test_lists_the_public_name(name):
    assert re.search(rf"`{name}\b", PAGE)


@pytest.mark.parametrize(
    ("function", "after"),
    [
        (spectrakit.open_checkpoint, "`open_checkpoint` are those of the command line:"),
        (spectrakit.analyze, "print(summary.select"),
    ],
)
def test_lists_its_arguments_with_their_defaults(function, after):
    parameters = inspect.signature(function).parameters
    listed = rows(after=after)
    assert [name for name in parameters if name != "name"] == [n for n in listed if n != "name"]
    for name, parameter in parameters.items():
        default = re.search(rf"^\| `{name}` \| (.*?) \|", PAGE[PAGE.index(after) :], re.MULTILINE)
        if default is not None and default[1].strip():
            assert default[1].strip("` ").replace('"', "'") == repr(parameter.default)


def test_lists_the_token_options():
    sentence = re.search(r"`TokenOptions` has (.*?)\.\n", PAGE, re.DOTALL)[1]
    assert re.findall(r"`(\w+)`", sentence) == list(inspect.signature(TokenOptions).parameters)


def test_lists_the_errors_with_their_exit_codes():
    listed = dict(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\d) \|", PAGE, re.MULTILINE))
    found = {
        name: int(code) for names, code in listed.items() for name in re.findall(r"\w+", names)
    }
    assert found == {error.__name__: error.exit_code for error in SpectrakitError.__subclasses__()}
