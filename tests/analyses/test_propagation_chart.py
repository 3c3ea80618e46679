"""The pictures of how hidden states travel."""

from __future__ import annotations

import numpy as np
import pytest

from spectrakit.analyses.massive.lines import USUAL
from spectrakit.analyses.perturbation.chart import perturbation_figure
from spectrakit.analyses.perturbation.tables import PERTURBATION
from spectrakit.analyses.propagation.chart import propagation_figure
from spectrakit.analyses.propagation.tables import METRICS, PROPAGATION
from spectrakit.errors import AnalysisError
from spectrakit.report.figures import render
from spectrakit.tables import Manifest, MemorySink
from tests.report.pictures import rows_of, words


def sink(revision):
    return MemorySink(Manifest(model_id="org/model", revision=revision, mode="data"))


def flow(revision="5c0ffee12345", depths=4, level=1.0, error=0.1, seq_len=256):
    into = sink(revision)
    for depth in range(depths):
        for of in METRICS if depth else ("stream",):
            for metric in METRICS[of]:
                columns = {
                    "depth": depth, "of": of, "metric": metric,
                    "token_set": ["all", USUAL], "coordinates": ["all", USUAL],
                    "value": [level * (depth + 1), None if level is None else level * (depth + 2)],
                    "standard_error": error, "tokens": 9, "sequences": 3, "seq_len": seq_len,
                }  # fmt: skip
                into.append(PROPAGATION, PROPAGATION.table(columns))
    return into.run


def gains(relative=0.5, depths=4):
    into = sink("5c0ffee12345")
    for depth in range(depths):
        columns = {
            "depth": depth, "lag": np.array([0, 1, 2]), "gain": relative,
            "relative_gain": [1.0, relative, 0.0], "size": 1e-3, "sequences": 2, "seq_len": 64,
        }  # fmt: skip
        into.append(PERTURBATION, PERTURBATION.table(columns))
    return into.run


def panels(*runs):
    return [rows for rows in rows_of(propagation_figure(*runs)).values() if rows]


def test_a_run_has_a_panel_per_metric_and_a_line_per_token_set():
    found = panels(flow())
    assert len(found) == 9
    for rows in found:
        assert {row["tokens"] for row in rows} == {
            "without massive tokens and coordinates", "all tokens and coordinates",
        }  # fmt: skip
        assert {row["run"] for row in rows} == {"org/model @ 5c0ffee1"}
    cosine = {row["depth"]: row for row in found[0] if row["tokens"].startswith("all")}
    assert cosine[2]["value"] == pytest.approx(3)
    assert cosine[2]["low"] == pytest.approx(2.8)
    assert cosine[2]["high"] == pytest.approx(3.2)


def test_trained_and_random_lie_beside_each_other():
    trained, random = flow(), flow("random-all-0-5c0ffee12345", level=2.0)
    labels = ["org/model @ 5c0ffee1", "org/model @ random-all-0-5c0ffee1"]
    for rows in panels(trained, random):
        assert {row["run"] for row in rows} == set(labels)
    said = words(render(propagation_figure(trained, random), "svg"))
    assert all(label in said for label in labels)
    assert "Effective rank" in said


def test_lengths_and_other_texts_are_told_apart():
    (rows, *_) = panels(flow(seq_len=256), flow(seq_len=4096))
    assert {row["run"] for row in rows} == {"256 tokens", "4,096 tokens"}
    (rows, *_) = panels(flow(), flow())
    assert {row["run"] for row in rows} == {
        "org/model @ 5c0ffee1 (1)", "org/model @ 5c0ffee1 (2)",
    }  # fmt: skip


def test_a_log_axis_has_no_band_below_zero():
    rows = panels(flow(error=100.0))
    norm = rows[6]
    assert all(row["low"] > 0 for row in norm)
    assert any(row["low"] < 0 for row in rows[0])


def test_what_has_no_value_is_not_drawn():
    made = flow(level=1.0, error=None)
    assert all(row["low"] == row["value"] for rows in panels(made) for row in rows)
    empty = sink("5c0ffee12345")
    columns = {"depth": 0, "of": "stream", "metric": "norm", "token_set": "all",
               "coordinates": "all", "tokens": 0, "sequences": 0, "seq_len": 1,
               "reason": "none"}  # fmt: skip
    empty.append(PROPAGATION, PROPAGATION.table(columns))
    with pytest.raises(AnalysisError, match="no flow of hidden states"):
        propagation_figure(empty.run)


def test_too_many_runs_are_refused():
    with pytest.raises(AnalysisError, match="7 runs in one picture"):
        propagation_figure(*[flow()] * 7)


def test_gains_are_cells_of_depth_and_lag():
    rows = rows_of(perturbation_figure(gains())).values()
    (cells,) = (part for part in rows if "gain" in part[0])
    assert len(cells) == 4 * 2  # nothing arrives at lag 2
    assert {cell["gain"] for cell in cells} == {1.0, 0.5}
    said = words(render(perturbation_figure(gains()), "svg"))
    assert "tokens later" in said
    assert "org/model @ 5c0ffee1" in said


def test_gains_that_are_none_are_not_drawn():
    empty = sink("5c0ffee12345")
    columns = {"depth": 0, "lag": 0, "gain": 1.0, "size": 1e-3, "sequences": 1, "seq_len": 4}
    empty.append(PERTURBATION, PERTURBATION.table(columns))
    with pytest.raises(AnalysisError, match="no gains"):
        perturbation_figure(empty.run)
