"""docs/cli.md: all commands, all variables, all exit codes."""

from __future__ import annotations

import re

import pytest

from docs.refresh import ROOT
from spectrakit import errors
from tests.docs.commands import all_commands

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name, _ in all_commands()])
def test_shows_the_help_of(name):
    assert f"\n$ {name} --help\n" in PAGE


def test_lists_every_variable_of_our_own():
    package = (path.read_text(encoding="utf-8") for path in (ROOT / "spectrakit").rglob("*.py"))
    ours = {name for text in package for name in re.findall(r"\bSPECTRAKIT_[A-Z_]+\b", text)}
    assert ours
    assert ours <= set(re.findall(r"SPECTRAKIT_[A-Z_]+", PAGE))


def test_lists_every_exit_code():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}
    classes = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    codes = {error.exit_code for error in classes if issubclass(error, errors.SpectrakitError)}
    assert listed == codes | {0, 130}
