"""README.md: its first screen, and that what it shows and claims is so."""

from __future__ import annotations

import re

import pytest

import spectrakit as sk
from docs.refresh import ROOT, blocks, refresh
from docs.shown import differences
from spectrakit import errors

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_screen_is_all_it_takes():
    screen = "\n".join(TEXT.splitlines()[:18])
    assert blocks(screen)[0].body.split("\n")[0].startswith("make demo ")
    assert blocks(screen)[0].body.split("\n")[1].startswith("make test ")
    assert "`pip install .`" in screen


@pytest.mark.slow
def test_what_it_shows_is_what_comes_out(tmp_path):
    different = differences("README.md", TEXT, refresh(TEXT, tmp_path))
    assert not different, f"run `make docs`\n{different}"


def test_it_shows_the_table_of_a_bundled_model():
    shown = next(block for block in blocks(TEXT) if block.language == "console")
    assert shown.body.startswith("$ spectrakit analyze tiny-mamba\n")
    assert len(re.findall(r"^ +\d mamba +nominal ", shown.body, flags=re.MULTILINE)) == 3


@pytest.mark.slow
def test_its_picture_is_of_that_run(tmp_path):
    picture = re.search(r"!\[.*?\]\((.*?)\)", TEXT)[1]
    sk.analyze("tiny-mamba", out=tmp_path / "run", figures=True)
    shown, now = (
        re.findall(r">([^<>]+)</text>", path.read_text(encoding="utf-8"))
        for path in (ROOT / picture, tmp_path / "run" / "spectrum.svg")
    )
    assert len(now) > 10
    assert shown == now, "run `make docs`"  # its words; where they stand depends on the fonts


def test_its_exit_codes_are_those_of_the_errors():
    section = TEXT[TEXT.index("## Exit codes") :]
    listed = ", ".join(f"{code} {means}" for code, means in errors.exit_codes().items())
    assert f"{listed}." in " ".join(section.split())


def test_the_formats_that_are_claimed_are_listed():
    from spectrakit.plugins import plugins

    section = TEXT[TEXT.index("## What it reads") : TEXT.index("## What it does not do yet")]
    assert "(docs/coverage.md)" in section
    page = (ROOT / "docs" / "coverage.md").read_text()
    for name in plugins().register().architectures.things:
        assert f"| `{name}` |" in page
