"""The picture and the lines of what is read back of a white signal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from spectrakit.analyses.empirical_memory import KIND
from spectrakit.analyses.empirical_memory.chart import empirical_memory_figure
from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY
from spectrakit.analyses.empirical_memory.view import view
from spectrakit.errors import AnalysisError
from spectrakit.report.drawing import draw_charts
from spectrakit.report.figures import render
from spectrakit.tables import LAYERS, Manifest, MemorySink
from tests.report.pictures import words

DELAYS = np.array([0, 1, 2, 3, 4, 8, 16, 32, 64, 128])
PLACES = {
    "model": [(0, depth, None) for depth in range(4)],
    "blocks": [(entry, depth, None) for entry in range(3) for depth in (entry, entry + 1)],
    "mixers": [(None, None, layer) for layer in range(3)],
}
MANIFEST = Manifest(model_id="me/mamba", revision="0123456789", mode="data")


def remembered(value):
    """Up to the first value that is not above .01."""
    return np.cumprod(value > 0.01).astype(bool)


def columns(place, value, reason=None):
    return {
        **dict(zip(("driven_depth", "depth", "layer"), place, strict=True)),
        "delay": DELAYS[: np.size(value)], "value": value,
        "threshold": 0.01, "remembered": None if reason else remembered(np.array(value)),
        "samples": 1000, "dimension": 8.0, "ridge": 1e-4, "reason": reason,
    }  # fmt: skip


def made(drive, slowest=10.0):
    """Places that forget at different rates, over noise."""
    sink = MemorySink(MANIFEST)
    for layer in range(3):
        sink.append(LAYERS, LAYERS.table({
            "layer": layer, "path": f"layers.{layer}", "kind": "mamba", "status": "analysed",
            "bytes_read": 0,
        }, rows=1))  # fmt: skip
    for number, place in enumerate(PLACES[drive]):
        noise = 0.008 * abs(np.sin(np.arange(len(DELAYS))))
        value = np.exp(-DELAYS * (number + 1) / slowest) + noise
        sink.append(EMPIRICAL_MEMORY, EMPIRICAL_MEMORY.table(columns(place, value)))
    return sink.run


def curves_of(figure):
    rows = [json.loads(rows) for rows in figure.to_dict()["datasets"].values()]
    (curves,) = [each for each in rows if "series" in each[0]]
    (noise,) = [each for each in rows if "series" not in each[0]]
    return curves, noise


@pytest.mark.parametrize(
    ("drive", "series", "named"),
    [("model", {1, 2, 3}, "depth"), ("blocks", {0, 1, 2}, "block"), ("mixers", {0, 1, 2}, "layer")],
)
def test_a_curve_for_each_place_behind_the_signal(drive, series, named):
    figure = empirical_memory_figure(made(drive))
    curves, noise = curves_of(figure)
    assert {row["series"] for row in curves} == series
    assert noise == [{"memory": 0.0025, "noise": 0.01}]
    said = words(render(figure, "svg"))
    assert {"me/mamba @ 01234567", "delay (tokens)", "R² of the read-out", named} <= set(said)


def test_places_without_a_curve_are_named_with_their_reason():
    sink = MemorySink(MANIFEST)
    for depth, reason in ((0, None), (1, None), (2, "noise"), (3, "noise")):
        value = np.full(len(DELAYS), None) if reason else np.exp(-DELAYS / 5)
        of_depth = columns((0, depth, None), value, reason)
        if reason:
            of_depth["threshold"] = None
        sink.append(EMPIRICAL_MEMORY, EMPIRICAL_MEMORY.table(of_depth))
    figure = empirical_memory_figure(sink.run)
    curves, _ = curves_of(figure)
    assert {row["series"] for row in curves} == {1}
    said = " ".join(words(render(figure, "svg")))
    assert "no curve of depth 2, 3: read-outs of unrelated signals reach one" in said


def test_a_curve_of_much_noise_hides_no_other():
    sink = MemorySink(MANIFEST)
    for depth, threshold in ((1, 0.9), (2, 0.01)):
        of_depth = columns((0, depth, None), np.exp(-DELAYS / 3)) | {"threshold": threshold}
        sink.append(EMPIRICAL_MEMORY, EMPIRICAL_MEMORY.table(of_depth))
    curves, noise = curves_of(empirical_memory_figure(sink.run))
    assert noise == [{"memory": 0.0025, "noise": 0.9}]
    assert sum(row["memory"] > 0.0025 for row in curves if row["series"] == 2) > 5


def test_delays_of_noise_alone_are_left_out():
    curves, _ = curves_of(empirical_memory_figure(made("mixers")))
    assert max(row["x"] - 1 for row in curves) == 64  # twice the last remembered
    short, _ = curves_of(empirical_memory_figure(made("mixers", slowest=0.1)))
    assert max(row["x"] - 1 for row in short) <= 2


def test_reasons_alone_are_no_picture():
    sink = MemorySink(MANIFEST)
    place = PLACES["mixers"][0]
    table = EMPIRICAL_MEMORY.table(columns(place, [None], reason="too-few-tokens"))
    sink.append(EMPIRICAL_MEMORY, table)
    with pytest.raises(AnalysisError, match="no empirical memory to draw"):
        empirical_memory_figure(sink.run)
    assert draw_charts(sink.run, KIND.charts) == {}


def lines(run):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(*view(run))
    return [line.split() for line in capture.get().splitlines()]


def test_mixers_are_lines_of_layers_and_kinds():
    heading, first, *_ = lines(made("mixers"))
    assert heading == ["layer", "kind", "now", "before", "last", "delay", "sum", "note"]
    assert first[:4] == ["0", "mamba", "1", "0.912"]
    assert first[4] == "32"  # exp(-3.2) is above the threshold, exp(-6.4) is not


def test_noise_that_exceeds_the_threshold_later_is_not_remembered():
    sink = MemorySink(MANIFEST)
    sink.append(LAYERS, LAYERS.table({
        "layer": 0, "path": "l", "kind": "lru", "status": "analysed", "bytes_read": 0,
    }, rows=1))  # fmt: skip
    value = np.where(np.isin(DELAYS, [16, 128]), 0.02, np.exp(-DELAYS * 1.5))
    sink.append(EMPIRICAL_MEMORY, EMPIRICAL_MEMORY.table(columns(PLACES["mixers"][0], value)))
    (first,) = [line for line in lines(sink.run) if line[:1] == ["0"]]
    assert first[4] == "3"
    assert float(first[5]) == pytest.approx(sum(np.exp(-1.5 * k) for k in range(4)), abs=5e-3)


def test_a_place_of_noise_alone_says_so():
    sink = MemorySink(MANIFEST)
    sink.append(LAYERS, LAYERS.table({
        "layer": 0, "path": "l", "kind": "lru", "status": "analysed", "bytes_read": 0,
    }, rows=1))  # fmt: skip
    table = EMPIRICAL_MEMORY.table(columns(PLACES["mixers"][0], [None], reason="noise"))
    sink.append(EMPIRICAL_MEMORY, table)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(*view(sink.run))
    assert "read-outs of unrelated signals reach one" in capture.get()


def test_the_sum_takes_left_out_delays_on_the_line_between():
    sink = MemorySink(MANIFEST)
    sink.append(LAYERS, LAYERS.table({
        "layer": 0, "path": "l", "kind": "lru", "status": "analysed", "bytes_read": 0,
    }, rows=1))  # fmt: skip
    value = (1 - DELAYS / 200).clip(0.02)
    place = PLACES["mixers"][0]
    sink.append(EMPIRICAL_MEMORY, EMPIRICAL_MEMORY.table(columns(place, value)))
    (first,) = [line for line in lines(sink.run) if line[:1] == ["0"]]
    expected = sum(1 - delay / 200 for delay in range(129))
    assert float(first[5]) == pytest.approx(expected, rel=2e-3)
