"""Fixtures of the zoo's tests: a working directory of its own, a Hub on this machine."""

from __future__ import annotations

import pytest

from tests.checkpoints.conftest import hub, waits  # noqa: F401  (fixtures)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder that is the working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def notes(caplog):
    """What is noted, as one text when it is asked for."""
    caplog.set_level("INFO", "spectrakit")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)
