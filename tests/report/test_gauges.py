"""Layers with rows in several gauges: which is shown, drawn and said."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from spectrakit.analyses.spectrum.chart import spectrum_figure
from spectrakit.comparison import compare_runs
from spectrakit.comparison.chart import comparison_figure
from spectrakit.comparison.view import comparison_report
from spectrakit.report.terminal import run_report
from spectrakit.tables import MemorySink
from spectrakit.tables.distribution import distribution
from spectrakit.tables.gauges import shared_gauges, shown_gauge
from spectrakit.tables.summaries import layer_summaries
from tests.report.synthetic import SyntheticRun

SLOW, FAST = np.full(50, 0.01), np.full(30, 1.0)


def attention(*gauges, kind="softmax_attention"):
    """A run of one layer with rows in each of `gauges`: (gauge, decay rates) pairs."""
    made = SyntheticRun("me/attention", mode="data")
    for number, (gauge, rates) in enumerate(gauges):
        made.layer(rates, mode="data", gauge=gauge, kind=kind, state_size=None, exact=False,
                   new_layer=number == 0)  # fmt: skip
    return made.run


BOTH = ("dsf", FAST), ("retained", SLOW)


def text_of(renderable):
    console = Console(width=500, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]])
def test_retained_is_shown_where_both_are_there(order):
    run = attention(*order)
    (row,) = layer_summaries(run, "discrete")
    assert (row["gauge"], row["count"]) == ("retained", 50)
    assert distribution(run, "discrete").count.sum() == 50
    assert distribution(run, "discrete", gauge="dsf").count.sum() == 30
    text = text_of(run_report(run))
    assert "gauge: retained; also in the tables: dsf" in text
    assert "λ is the share of what a token reads that comes from before it" in text
    assert " 100 " in text.splitlines()[2]  # the median of e^-.01
    subtitle = spectrum_figure(run).to_dict()["title"]["subtitle"]
    assert "gauge retained" in subtitle[0]
    assert subtitle[1].startswith("50 eigenvalues")


def test_a_run_from_before_is_shown_in_dsf_and_says_what_that_is():
    run = attention(("dsf", FAST))
    assert [row["gauge"] for row in layer_summaries(run)] == ["dsf"]
    text = text_of(run_report(run))
    assert "gauge: dsf\n" in text
    assert "not for comparing models" in text
    assert "gauge dsf" in spectrum_figure(run).to_dict()["title"]["subtitle"][0]


def test_layers_without_the_gauge_that_was_asked_for_are_named():
    made = SyntheticRun("me/hybrid", mode="data")
    made.layer(SLOW, mode="data", gauge="unnormalised")
    made.layer(SLOW, mode="data", gauge="retained", kind="softmax_attention")
    made.layer(SLOW, mode="data", gauge="unnormalised")
    run = made.run
    spec = {"gauge": "retained"}
    run = dataclasses.replace(run, manifest=dataclasses.replace(run.manifest, spec=spec))
    text = text_of(run_report(run))
    assert "gauge: retained, unnormalised" in text
    assert "not in gauge retained, which they do not have: layers 0, 2 (unnormalised)" in text


def test_the_gauge_that_both_have_is_taken():
    assert shown_gauge({"dsf", "retained"}) == "retained"
    assert shown_gauge({"dsf", "retained"}, {"dsf"}) == "dsf"
    assert shown_gauge({"unnormalised"}, {"dsf"}) == "unnormalised"
    assert shared_gauges({"dsf", "retained"}, {"dsf"}) == ("dsf", "dsf")
    assert shared_gauges({"dsf", "retained"}, {"unnormalised"}) == ("retained", "unnormalised")
    assert shown_gauge({"rickenbach2025"}) == "rickenbach2025"


def compared(*runs):
    sink = MemorySink(runs[0].manifest)
    compare_runs(runs, sink)
    return sink.run


def test_a_comparison_is_drawn_in_the_gauge_that_all_have():
    new, old = attention(*BOTH), attention(("dsf", 10 * FAST))
    for runs, gauge in (((new, new), "retained"), ((new, old), "dsf")):
        found = compared(*runs)
        (row,) = found.table("decay_distance").to_pylist()
        assert (row["gauge"], row["other_gauge"]) == (gauge, gauge)
        chart = str(comparison_figure(runs, found).to_dict())
        assert f"timescales in gauge {gauge} (" in chart
    assert row["wasserstein_decades"] == pytest.approx(1, abs=0.01)


def test_attention_and_a_layer_of_another_gauge_are_not_subtracted():
    runs = attention(*BOTH), attention(("unnormalised", SLOW), kind="mamba")
    found = compared(*runs)
    (row,) = found.table("decay_distance").to_pylist()
    assert row["reason"] == "in gauges retained and unnormalised, which are not compared"
    assert row["wasserstein_decades"] is None
    rows = found.table("summary_difference").to_pylist()
    assert {(row["difference"], row["reason"]) for row in rows} == {(None, "other-gauge")}
    text = text_of(comparison_report(runs, found))
    assert "are not subtracted (other-gauge)" in text
    comparison_figure(runs, found)


@pytest.mark.parametrize(("gauge", "told"), [("dsf", True), ("retained", False)])
def test_a_comparison_in_dsf_says_what_it_cannot_tell(gauge, told):
    runs = [attention((gauge, rates)) for rates in (SLOW, FAST)]
    text = text_of(comparison_report(runs, compared(*runs)))
    assert ("another writing of the same function" in text) is told
