"""The template's analysis beside those of spectrakit: asked for, shown, drawn and compared."""

from __future__ import annotations

import pytest

import spectrakit as sk
from spectrakit.comparison import compare
from spectrakit.comparison.view import comparison_report
from spectrakit.report.plain_console import as_html


@pytest.fixture
def runs(demo):
    """The same model twice, with two values of the plugin's option."""
    demo()
    asked = {"analyses": ["spectrum", "demo_slow"]}
    return [sk.analyze("tiny-mamba", **asked, demo_slow_steps=steps) for steps in (100, 20)]


def test_its_option_is_a_setting_like_any_other(runs):
    assert [run.manifest.settings()["demo_slow.steps"] for run in runs] == [100, 20]
    assert [run.table("demo_slow")["steps"][0].as_py() for run in runs] == [100, 20]
    with pytest.raises(sk.errors.UsageError, match="demo_slow_steps must be at least 1, not 0"):
        sk.analyze("tiny-mamba", analyses=["demo_slow"], demo_slow_steps=0)


def test_it_is_shown_and_drawn_where_the_others_are(runs):
    html = runs[1]._repr_html_()
    assert html.index("median and bars") < html.index("timescale of 20 steps or more")
    assert runs[1].charts == ("spectrum", "demo_slow")
    assert runs[1].chart("demo_slow").to_dict()["mark"]["type"] == "bar"


def test_it_has_a_block_in_comparisons(runs):
    text = as_html(comparison_report(runs, compare(runs)))
    assert "demo_slow.steps 100 and 20" in text
    assert "slow: share of slow components" in text
    assert "not subtracted (other-steps): slow is of another timescale" in text
    assert "the largest of" not in text  # it has columns, so its differences are not listed
    same = [runs[0], runs[0]]
    assert "not subtracted" not in as_html(comparison_report(same, compare(same)))
