"""Text that is shown: nothing in it commands a terminal, hides, or leads out of a folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.analyses.spectrum.chart import spectrum_figure
from spectrakit.errors import UsageError
from spectrakit.plain import path_part, plain
from spectrakit.report.figures import render
from tests.report.pictures import words
from tests.report.synthetic import tiny

ANY = st.text(st.characters(exclude_categories=()))  # surrogates too


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layers.0.[bold] λ 漢字 é", "layers.0.[bold] λ 漢字 é"),
        ("\x1b]0;T\x07\x1b[31m", r"\x1b]0;T\x07\x1b[31m"),
        ("a\tb\nc\rd\x85", r"a\tb\nc\rd\x85"),
        ("a\u202eb\u2066c\u200b\ufeff", r"a\u202eb\u2066c\u200b\ufeff"),
        ("\x7f\x9b31m\u2028", r"\x7f\x9b31m\u2028"),
        ("\udcff\uffff\U000e0041", r"\udcff\uffff\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text, shown):
    assert plain(text) == shown


@given(ANY)
def test_no_text_has_a_control_left(text):
    shown = plain(text)
    assert not {unicodedata.category(at) for at in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert plain(shown) == shown
    assert plain(f"{text}\n", keep="\n").endswith("\n")


@given(ANY)
def test_a_part_of_a_path_is_one_name(text):
    part = path_part(text)
    assert Path("runs", part).resolve().parent == Path("runs").resolve()
    assert Path(part).name == part
    assert not set(part) & set('/\\:*?"<>|')
    assert len(part.encode()) <= 120


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("..", "__"),
        ("", "_"),
        (".", "_"),
        ("a/../b", "a_.._b"),
        ("C:\\x", "C__x"),
        ("mamba-130m", "mamba-130m"),
        ("local-12_ab.c+d", "local-12_ab.c+d"),
    ],
)
def test_parts_of_paths(text, part):
    assert path_part(text) == part


def test_errors_are_plain():
    error = UsageError("no \x1b[31m\u202e layer", hint="try\nthis\x07")
    assert str(error) == "no \\x1b[31m\\u202e layer\n  try: try\\nthis\\x07"


def test_a_picture_of_a_hostile_name_is_sound():
    run = tiny()
    object.__setattr__(run.manifest, "model_id", "m\x1b[31m\x00\udcff<b>&\u202e")
    svg = render(spectrum_figure(run), "svg").decode()
    assert any(r"m\x1b[31m\x00\udcff<b>&\u202e" in line for line in words(svg))
