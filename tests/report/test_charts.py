from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from spectrakit.analyses.spectrum.chart import spectrum_figure
from spectrakit.errors import AnalysisError
from spectrakit.report.figures import render, render_all
from spectrakit.tables.manifest import Recorded
from tests.report.pictures import rows_of, words
from tests.report.synthetic import EVERY, SyntheticRun, mamba
from tests.tables.samples import ROOT

ODD = {
    "one eigenvalue": [0.1],
    "all forgotten": [np.inf, np.inf],
    "all kept": [0.0, 0.0],
    "all far outside": [-5.0, -6.0],
    "beyond floating point": [-800.0, 0.1],
}


@pytest.mark.parametrize("name", EVERY)
def test_a_chart_holds_a_few_thousand_rows_whatever_the_model(name):
    rows = rows_of(spectrum_figure(EVERY[name]()))
    assert 100 < sum(map(len, rows.values())) <= 6000
    shares = [row["share"] for data in rows.values() for row in data if "share" in row]
    assert all(0 < share <= 1 for share in shares)


@pytest.mark.parametrize("name", EVERY)
def test_the_pictures_are_whole_files_without_addresses(name):
    run = EVERY[name]()
    drawn = render_all(spectrum_figure(run), "png", "svg")
    assert drawn["png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert drawn["png"].endswith(b"IEND\xaeB`\x82")
    text = drawn["svg"].decode()
    addresses = set(re.findall(r"[a-z]+://[^\"'\s)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "NaN" not in text
    said = words(drawn["svg"])
    assert any(run.manifest.revision[:8] in word for word in said)
    assert "layer" in said


def test_the_title_says_model_revision_mode_domain_and_gauge():
    said = words(render(spectrum_figure(mamba(layers=2, channels=8)), "svg"))
    assert "state-spaces/mamba-130m @ d4b3c9f0" in said
    assert "nominal · discrete · gauge unnormalised" in said
    assert "256 eigenvalues in 2 of 2 layers" in said


def test_a_long_name_keeps_its_end():
    title = spectrum_figure(EVERY["everything"]()).to_dict()["title"]["text"]
    assert title.startswith("…")
    assert title.endswith("final @ d4b3c9f0")
    assert len(title) <= 75


def test_a_content_hash_keeps_its_kind():
    run = SyntheticRun("m", revision="local-5c0ffee123456789").layer([0.1]).run
    assert spectrum_figure(run).to_dict()["title"]["text"] == "m @ local-5c0ffee1"


def test_a_layer_without_eigenvalues_has_a_row_that_says_so():
    said = words(render(spectrum_figure(EVERY["hybrid"]()), "svg"))
    assert said.count("attention: unsupported") == 2


def test_what_lies_outside_the_plane_is_named():
    (subtitle,) = spectrum_figure(EVERY["everything"]()).to_dict()["title"]["subtitle"][1:]
    assert re.search(r"; 0\.\d% lie outside the plane that is drawn$", subtitle)


def test_a_picture_says_how_much_text_was_read():
    made = SyntheticRun("m", mode="data").layer([0.1, 0.2], mode="data", exact=False)
    made.sink.record(Recorded(tokens=1024, sequences=2))
    *_, last = spectrum_figure(made.run).to_dict()["title"]["subtitle"]
    assert last == "1,024 tokens in 2 sequences"


def test_the_shares_of_each_layer_make_one():
    rows = rows_of(spectrum_figure(mamba(layers=3, channels=32)))
    (cells,) = (data for data in rows.values() if {"layer", "share"} <= set(data[0]))
    for layer in range(3):
        assert sum(c["share"] for c in cells if c["layer"] == layer) == pytest.approx(1)


@pytest.mark.parametrize("rates", ODD.values(), ids=ODD.keys())
def test_odd_spectra_are_drawn_too(rates):
    run = SyntheticRun("odd").layer(rates, mode="data", exact=False).run
    svg = render(spectrum_figure(run), "svg").decode()
    assert "odd @ d4b3c9f0" in svg
    assert "NaN" not in svg


def test_a_domain_may_be_chosen():
    made = SyntheticRun("m").layer([0.1, 0.2]).continuous([-1, -2 + 1j], new_layer=False)
    assert "discrete" in spectrum_figure(made.run).to_dict()["title"]["subtitle"][0]
    both = spectrum_figure(made.run, "continuous").to_dict()["title"]["subtitle"][0]
    assert "continuous" in both


def test_a_run_without_eigenvalues_has_no_picture():
    run = SyntheticRun("me/attention-only").absent().run
    with pytest.raises(AnalysisError, match="me/attention-only has no"):
        spectrum_figure(run)
    with pytest.raises(AnalysisError, match="no continuous"):
        spectrum_figure(mamba(layers=1, channels=2), "continuous")


def test_the_report_imports_altair_only_to_draw():
    code = (
        "import sys, spectrakit.analyses.spectrum.chart, spectrakit.report.terminal\n"
        "import spectrakit.report.figures\n"
        "print({'altair', 'vl_convert', 'pyarrow', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"
