"""Running the command line in this process, from an empty folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from spectrakit.cli.app import build_app


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and the two streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`command("analyze", ...)` runs it in an empty folder that is also `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECTRAKIT_LOAD_PLUGINS", "")

    def run(*arguments, **options):
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["spectrakit", *words])
        result = CliRunner().invoke(build_app(), words, **options)
        return Done(result.exit_code, result.stdout, result.stderr)

    return run
