"""The Makefile: what it installs and when, and what it says where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TASKS = (
    "help",
    "demo",
    "test",
    "test-all",
    "test-forms",
    "lint",
    "format",
    "bench",
    "docs",
    "hub-check",
    "wheel",
    "constraints",
    "clean",
)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*arguments):
    # Tests may be running under make: its flags are not ours.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def installed(tmp_path):
    """A stand-in for an environment in which everything was installed after the last change."""
    (tmp_path / "bin").mkdir()
    for name in ("bin/python", ".spectrakit", ".test", ".plugins", ".forms", ".lint"):
        (tmp_path / name).touch()
    return f"VENV={tmp_path}"


def test_help_lists_every_task():
    listed = [line.split()[1] for line in make("help").stdout.splitlines()]
    assert listed == list(TASKS)


@pytest.mark.parametrize(
    "task", ["demo", "test", "test-all", "test-forms", "lint", "bench", "docs", "wheel"]
)
def test_what_is_installed_is_not_installed_again(task, installed):
    done = make("--dry-run", task, installed)
    assert done.returncode == 0
    assert done.stdout
    assert "pip" not in done.stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_it_is_after_a_change_of_what_to_install(changed, installed):
    commands = make("--dry-run", f"--what-if={changed}", "test", installed).stdout
    assert "--constraint constraints.txt --no-build-isolation --editable ." in commands
    assert "--constraint constraints.txt --group test" in commands


def test_all_that_is_installed_is_pinned(tmp_path):
    commands = make("--dry-run", "test", "lint", f"VENV={tmp_path}", "PYTHON=python3").stdout
    installs = [line for line in commands.splitlines() if " -m pip " in line]
    assert len(installs) == 6
    of_plugins = [line for line in installs if "--editable plugins/" in line]
    assert len(of_plugins) == 1
    assert "--no-deps" in of_plugins[0]
    others = [line for line in installs if line not in of_plugins]
    assert all("--constraint constraints.txt" in line for line in others)


def test_an_old_python_is_refused_in_plain_words(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    old.chmod(0o755)
    done = make("test", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"error: spectrakit needs Python 3.11 or newer; {old} is Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_no_python_at_all_is_said_too(tmp_path):
    done = make("test", f"VENV={tmp_path / 'venv'}", "PYTHON=")
    assert done.returncode != 0
    assert "error: this machine has no Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()
