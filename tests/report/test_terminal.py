from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from spectrakit.report.terminal import run_report
from spectrakit.tables import LAYERS, SPECTRUM_SUMMARY, Manifest, MemorySink
from tests.report.synthetic import EVERY, SyntheticRun, hybrid, mamba


def shown(run, width=80, **console):
    console = Console(width=width, file=io.StringIO(), **console)
    console.print(run_report(run))
    return console.file.getvalue()


def line_of(text, layer):
    return next(line for line in text.splitlines() if line.split()[:1] == [str(layer)])


@pytest.mark.parametrize("name", EVERY)
def test_a_layer_has_one_line_and_lines_fit_80_columns(name):
    run = EVERY[name]()
    text = shown(run)
    layers = run.table("layers").column("layer").to_pylist()
    lines = [line for line in text.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert [int(line.split()[0]) for line in lines] == layers
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in "".join(line[10:] for line in lines)


def test_there_is_no_colour_where_there_is_no_terminal():
    assert "\x1b" not in shown(mamba(layers=2, channels=8))


def test_no_color_leaves_no_colour_in_a_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(hybrid(), force_terminal=True)
    assert "\x1b[3" not in text.replace("\x1b[3m", "")


def test_the_numbers_of_a_layer_are_those_of_its_summary():
    rate = np.array([2.3e-5, 0.02, 0.02, 5.0])
    line = line_of(shown(SyntheticRun("m").layer(rate, state_size=4).run), 0)
    assert line.split()[:8] == ["0", "mamba", "nominal", "4", "1-2.3e-05", "50", "25.0%", "75.0%"]


def test_the_bars_share_one_axis():
    made = SyntheticRun("m").layer([0.9, 0.9, 0.9, 0.9e-4]).layer([1e3, 0.0, -1.0])
    text = shown(made.run)
    start = next(line.index("0.1 100k") for line in text.splitlines() if "100k" in line)
    bars = [line_of(text, layer)[start : start + 8] for layer in (0, 1)]
    assert bars[0] == " █    ▃ "
    assert bars[1] == "▄      █"


def test_a_layer_whose_median_grows_says_so():
    assert "|λ|>1" in line_of(shown(SyntheticRun("m").layer([-0.1, -0.2, 0.1]).run), 0)


def test_layers_without_a_spectrum_are_listed_with_their_reason():
    text = shown(hybrid())
    assert line_of(text, 5).split()[1:3] == ["attention", "unsupported"]
    assert "layers 5, 11 unsupported: nothing here reads attention" in text


def test_a_run_without_any_spectrum_is_its_reasons():
    made = SyntheticRun("m").absent().absent(reason="needs text", status="needs-data")
    assert shown(made.run).splitlines() == [
        "layer 0 unsupported: nothing here reads attention",
        "layer 1 needs-data: needs text",
    ]


def test_continuous_time_shows_the_abscissa_and_no_moduli():
    text = shown(EVERY["s4d_continuous"]())
    assert "abscissa" in text
    assert "moduli, the unit circle" in text
    assert "radius" not in text
    assert "|λ|" not in text


def test_both_domains_are_shown_one_after_the_other():
    made = SyntheticRun("m").layer([0.1, 0.2]).continuous([-1, -2], new_layer=False)
    text = shown(made.run, width=120)
    assert text.index("radius") < text.index("discrete:") < text.index("abscissa")


def test_a_summary_without_its_eigenvalues_has_no_bars():
    sink = MemorySink(Manifest(model_id="m", revision="r", mode="data"))
    made = SyntheticRun("m").continuous([-1, -2])
    for schema in (LAYERS, SPECTRUM_SUMMARY):
        sink.append(schema, made.run.table(schema.name).drop_columns(["model_id", "revision"]))
    assert line_of(shown(sink.run), 0).split()[-4:] == ["-1", "0.67", "1.1", "1.9"]


def test_the_legend_says_mode_domain_gauge_and_how_far_shares_can_be_off():
    text = shown(EVERY["attention"](), width=120)
    assert "data: observed on tokens" in text
    assert "discrete: λ per step" in text
    assert "gauge: dsf" in text
    assert "shares are within 0.4% of those observed" in text
    assert "shares are within" not in shown(mamba(layers=2, channels=8))


def test_unstable_layers_are_named_unless_they_were_observed():
    assert "not stable: layers 1-2" in shown(EVERY["unstable"]())
    assert "not stable" not in shown(EVERY["attention"]())
