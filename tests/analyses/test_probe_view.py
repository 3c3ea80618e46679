"""The picture and the lines of a run with probes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from spectrakit.analyses.probe.chart import probe_figure
from spectrakit.analyses.probe.tables import PROBE
from spectrakit.analyses.probe.view import view
from spectrakit.errors import AnalysisError
from spectrakit.report.figures import render_all
from spectrakit.tables import Manifest, MemorySink

MODEL = {"model_accuracy": 0.5, "model_accuracy_low": 0.4, "model_accuracy_high": 0.6}
TOLD = {"accuracy": 0.75, "accuracy_low": 0.7, "accuracy_high": 0.8, "shuffled_accuracy": 0.3}


def run(told=TOLD, model=MODEL, targets=("answer_start", "gold_position")):
    sink = MemorySink(Manifest(model_id="m", revision="r", mode="data"))
    for target in targets:
        for depth in range(3):
            for position in (None, 0, 4):
                row = {
                    "prompt_set": "kv-retrieval", "target": target, "depth": depth,
                    "gold_position": position, "chance": 0.25, "items": 5, "prompts": 10,
                    "sources": 5, "features": 8, **told, **model,
                }  # fmt: skip
                sink.append(PROBE, PROBE.table(row, rows=1))
    return sink.run


def panels(figure):
    """Titles of the panels of each row, and what is drawn over depth."""
    rows = figure.to_dict()["vconcat"]
    return [[row["hconcat"][0]["title"], len(row["hconcat"][1]["hconcat"])] for row in rows]


def test_has_a_row_per_target_and_the_model_beside_it():
    figure = probe_figure(run())
    assert panels(figure) == [["Probe for gold position", 2], ["Probe for answer start", 2]]
    drawn = render_all(figure, "png", "svg")
    assert drawn["png"].startswith(b"\x89PNG")
    for said in (b"probe, shuffled labels", b"the model's choice", b"most frequent label"):
        assert said in drawn["svg"].replace(b"&#39;", b"'").replace(b"&apos;", b"'")


def test_leaves_out_a_model_whose_choice_is_not_known():
    figure = probe_figure(run(model={"model_reason": "no_head"}, targets=("gold_position",)))
    assert panels(figure) == [["Probe for gold position", 1]]
    assert b"choice" not in render_all(figure, "svg")["svg"]


def test_without_a_probe_there_is_no_picture():
    with pytest.raises(AnalysisError, match="m has no probes to draw"):
        probe_figure(run(told={"reason": "one_label"}))


def printed(found):
    text = io.StringIO()
    Console(file=text, width=300).print(*view(found))
    return text.getvalue()


def test_the_terminal_has_a_line_per_target_and_depth():
    lines = printed(run()).splitlines()
    assert lines[1].split() == [
        "answer_start", "0", "75.0%", "70.0%", "to", "80.0%", "30.0%", "25.0%",
    ]  # fmt: skip
    assert len([line for line in lines if line.startswith(("answer_start", "gold_position"))]) == 6
    assert "the model itself is right in 50.0% (40.0% to 60.0%)" in lines[7]


def test_the_terminal_says_why_something_is_missing():
    text = printed(run(told={"reason": "few_sources"}, model={"model_reason": "no_candidates"}))
    assert "few_sources" in text
    assert "not known: the other items have no answers of their own" in text
