"""The picture and the lines of what is read back of a white signal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from spectrakit.errors import AnalysisError
from spectrakit.report.drawn import Drawn
from spectrakit.report.empirical_memory_chart import empirical_memory_figure
from spectrakit.report.empirical_memory_report import empirical_memory_report
from spectrakit.report.figures import render
from spectrakit.tables import LAYERS, Manifest, MemorySink
from spectrakit.tables.empirical_memory_schema import EMPIRICAL_MEMORY
from tests.report.test_charts import words

DELAYS = np.array([0, 1, 2, 3, 4, 8, 16, 32, 64, 128])
PLACES = {
    "model": [(0, depth, None) for depth in range(4)],
    "blocks": [(entry, depth, None) for entry in range(3) for depth in (entry, entry + 1)],
    "mixers": [(None, None, layer) for layer in range(3)],
}
MANIFEST = Manifest(model_id="me/mamba", revision="0123456789", mode="data")


def columns(place, value, reason=None):
    return {
        **dict(zip(("driven_depth", "depth", "layer"), place, strict=True)),
        "delay": DELAYS[: np.size(value)], "value": value,
        "threshold": 0.01, "samples": 1000, "dimension": 8.0, "reason": reason,
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


def test_delays_of_noise_alone_are_left_out():
    curves, _ = curves_of(empirical_memory_figure(made("mixers")))
    assert max(row["x"] - 1 for row in curves) == 64  # twice the last above the threshold
    short, _ = curves_of(empirical_memory_figure(made("mixers", slowest=0.1)))
    assert max(row["x"] - 1 for row in short) <= 1


def test_reasons_alone_are_no_picture():
    sink = Drawn(MANIFEST)
    place = PLACES["mixers"][0]
    table = EMPIRICAL_MEMORY.table(columns(place, [None], reason="too few tokens"))
    sink.append(EMPIRICAL_MEMORY, table)
    assert sink.figures() == {}
    kept = MemorySink(MANIFEST)
    kept.append(EMPIRICAL_MEMORY, table)
    with pytest.raises(AnalysisError, match="no empirical memory to draw"):
        empirical_memory_figure(kept.run)


def lines(run):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(*empirical_memory_report(run))
    return [line.split() for line in capture.get().splitlines()]


def test_mixers_are_lines_of_layers_and_kinds():
    heading, first, *_ = lines(made("mixers"))
    assert heading == ["layer", "kind", "now", "before", "last", "delay", "sum", "note"]
    assert first[:4] == ["0", "mamba", "1", "0.912"]
    assert first[4] == "32"


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
