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
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)]
    assert listed == list(errors.exit_codes())


def test_every_error_has_its_exit_code_there():
    classes = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    own = [error for error in classes if issubclass(error, errors.SpectrakitError)]
    assert {error.exit_code for error in own} | {0, 130} == set(errors.exit_codes())
    # Those that share a code mean the same by it; what a plugin adds is none of the tool's.
    assert all(error.meaning == errors.exit_codes()[error.exit_code] for error in own)


def test_the_help_lists_the_exit_codes_of_the_errors():
    shown = PAGE[PAGE.index("$ spectrakit --help") : PAGE.index("## `spectrakit analyze`")]
    listed = ", ".join(f"{code} {means}" for code, means in errors.exit_codes().items())
    assert f"Exit codes: {listed}." in " ".join(shown.split())
