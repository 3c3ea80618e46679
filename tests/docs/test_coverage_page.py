"""docs/coverage.md says what the registry and the tests hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from spectrakit.plugins import plugins

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("coverage_page", DOCS / "coverage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_page_is_up_to_date(coverage):
    assert coverage.PAGE.read_text() == coverage.render(), "run `make docs`"


@pytest.mark.parametrize("name", sorted(plugins().register().mixers.things))
def test_every_kind_of_layer_says_what_verifies_it(coverage, name):
    assert coverage._verified(plugins().register().mixers.things[name].thing)
