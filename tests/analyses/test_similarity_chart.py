"""The heat maps of the similarity table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spectrakit.analyses.massive.lines import USUAL
from spectrakit.analyses.massive.tables import MASSIVE
from spectrakit.analyses.similarity.chart import similarity_figure
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.errors import AnalysisError
from spectrakit.report.figures import render
from spectrakit.tables import Manifest, MemorySink
from tests.report.pictures import rows_of, words


def run_of(*estimators, depths=5, missing=None, seen=2048):
    """A run whose similarity falls with the distance of depths."""
    sink = MemorySink(Manifest(model_id="org/model", revision="5c0ffee12345", mode="data"))
    for name in estimators:
        first, second = np.triu_indices(depths)
        if name == "procrustes":
            first, second = np.arange(depths - 1), np.arange(1, depths)
        value = 1 - np.abs(first - second) / depths
        absent = np.isin(first, missing or []) | np.isin(second, missing or [])
        columns = {
            "depth": first, "other_depth": second, "estimator": name,
            "value": np.where(absent, np.nan, value), "tokens": 1024, "tokens_seen": seen,
            "token_set": USUAL, "coordinates": USUAL, "width": 768, "other_width": 768,
            "reason": np.where(absent, "no-variation", None).tolist(),
        }  # fmt: skip
        sink.append(SIMILARITY, SIMILARITY.table(columns))
    return sink.run


def cells(run):
    found = [rows for rows in rows_of(similarity_figure(run)).values() if rows]
    return [rows for rows in found if {"y1", "value"} <= set(rows[0])]


def test_a_square_has_both_halves():
    (square,) = cells(run_of("cka", depths=25))
    assert len(square) == 25 * 25
    values = {(cell["x"], cell["y"]): cell["value"] for cell in square}
    assert values[3, 7] == values[7, 3] == pytest.approx(1 - 4 / 25)


def test_few_depths_have_their_numbers_written_in():
    said = words(render(similarity_figure(run_of("cka", "mutual_knn")), "svg"))
    assert said.count("0.80") == 16
    many = words(render(similarity_figure(run_of("cka", depths=25)), "svg"))
    assert "0.80" not in many


def test_the_exact_estimate_is_drawn_where_there_is_one():
    said = words(render(similarity_figure(run_of("cka_minibatch", "cka")), "svg"))
    assert "Linear CKA, unbiased: 1,024 of the tokens" in said
    grouped = words(render(similarity_figure(run_of("cka_minibatch", seen=1024)), "svg"))
    assert "Linear CKA, unbiased, of groups of tokens: 1,024 tokens" in grouped


def test_the_title_says_what_was_compared():
    title = similarity_figure(run_of("cka")).to_dict()["title"]
    assert title["text"] == "org/model @ 5c0ffee1"
    nothing = "no token or coordinate is massive"
    assert title["subtitle"][1] == f"2,048 tokens, 768 features; {nothing}"


def test_the_title_says_what_was_left_out():
    run = run_of("cka")
    rows = {"analysis": "similarity", "depth": [1, 2, 1], "kind": ["token", "token", "coordinate"],
            "sequence": [0, 0, None], "position": [1, 1, None], "coordinate": [None, None, 7],
            "value": 1e4, "ratio": 99.0, "limit": 20.0, "sequences": 1}  # fmt: skip
    sink = MemorySink(run.manifest)
    of_run = run.table(SIMILARITY.name).drop_columns(["model_id", "revision"])
    sink.append(SIMILARITY, of_run)
    sink.append(MASSIVE, MASSIVE.table(rows))
    subtitle = similarity_figure(sink.run).to_dict()["title"]["subtitle"]
    assert subtitle[1].endswith("features, without 1 massive token and 1 massive coordinate")


def test_missing_values_leave_the_ground():
    square = cells(run_of("cka", missing=[2]))[0]
    assert len(square) == 25 - 9
    assert "NaN" not in json.dumps(square)


@pytest.mark.parametrize("estimators", [("procrustes",), ("cka", "procrustes"), ("mutual_knn",)])
def test_any_of_the_parts_may_stand_alone(estimators):
    assert render(similarity_figure(run_of(*estimators)), "png").startswith(b"\x89PNG")


def test_one_depth_is_a_picture():
    assert len(cells(run_of("cka", depths=1))[0]) == 1


def test_where_there_is_no_value_the_picture_says_why():
    run = run_of("cka", "procrustes", missing=list(range(5)))
    said = words(render(similarity_figure(run), "svg"))
    assert "Linear CKA, unbiased: no-variation" in said
    assert not cells(run)


def test_two_models_are_not_drawn_as_one():
    sink = MemorySink(Manifest(model_id="org/model", revision="5c0ffee12345", mode="data"))
    columns = {
        "depth": 0, "other_depth": 0, "other_model_id": "another", "other_run": 1,
        "estimator": "cka", "value": 0.5, "tokens": 9, "tokens_seen": 9, "token_set": USUAL,
        "coordinates": USUAL,
        "width": 8, "other_width": 8,
    }  # fmt: skip
    sink.append(SIMILARITY, SIMILARITY.table(columns, rows=1))
    with pytest.raises(AnalysisError, match="no similarities to draw"):
        similarity_figure(sink.run)
