"""The pictures of memory functions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spectrakit.analyses.memory.chart import FLOOR, memory_figure
from spectrakit.analyses.memory.eigenvalue_set_chart import eigenvalue_set_figure
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.memory.rows import write_key_ranks
from spectrakit.analyses.memory.tables import MEMORY_FUNCTION
from spectrakit.eigenvalue_memory import eigenvalue_memory
from spectrakit.errors import AnalysisError
from spectrakit.report.figures import render
from spectrakit.tables import Manifest, MemorySink
from tests.report.pictures import words


def made(layers=3, precisions=("exact", "bfloat16"), highest=1.0, past="infinite"):
    """A run whose layers forget at different rates."""
    sink = MemorySink(Manifest(model_id="me/mamba", revision="0123456789", mode="weights"))
    delay = np.array([0, 1, 2, 4, 8, 16, 32, 64, 1 << 20])
    for layer in range(layers):
        for k, precision in enumerate(precisions):
            memory = highest * np.exp(-delay * (0.1 + 0.1 * layer + k))
            sink.append(MEMORY_FUNCTION, MEMORY_FUNCTION.table({
                "layer": layer, "mode": "nominal", "past": past, "precision": precision,
                "delay": delay, "memory": memory, "capacity_below": 0.0,
            }))  # fmt: skip
    return sink.run


def rows_of(chart):
    return [json.loads(rows) for rows in chart.to_dict()["datasets"].values()]


def test_a_curve_per_layer_and_one_per_precision():
    layers, precisions = rows_of(memory_figure(made()))
    assert {row["series"] for row in layers} == {0, 1, 2}
    assert {row["series"] for row in precisions} == {"exact", "bfloat16"}
    mean = np.mean([row["memory"] for row in layers if row["x"] == 3])
    (drawn,) = [r["memory"] for r in precisions if (r["series"], r["x"]) == ("exact", 3)]
    assert drawn == pytest.approx(mean, rel=1e-3)


def test_delays_without_memory_are_not_on_the_axis():
    (layers, _) = rows_of(memory_figure(made()))
    assert max(row["x"] for row in layers) == 65
    assert min(row["memory"] for row in layers) == FLOOR / 2


def test_a_run_without_precisions_has_one_half():
    assert len(rows_of(memory_figure(made(precisions=("exact",))))) == 1


@pytest.mark.parametrize("change", [{"layers": 1}, {"layers": 30}, {"highest": 300.0},
                                    {"highest": 1e-9}, {"past": "sequence"}])  # fmt: skip
def test_it_is_drawn(change):
    svg = render(memory_figure(made(**change)), "svg")
    assert b"NaN" not in svg
    said = words(svg)
    assert "me/mamba @ 01234567" in said
    assert "delay (tokens)" in said


def test_a_run_of_heads_alone_has_no_picture():
    sink = MemorySink(Manifest(model_id="m", revision="r", mode="data"))
    sink.append(MEMORY_FUNCTION, MEMORY_FUNCTION.table({
        "layer": 0, "head": 1, "mode": "data", "past": "sequence", "precision": "exact",
        "delay": 0, "memory": 1.0, "capacity_below": 0.0,
    }))  # fmt: skip
    with pytest.raises(AnalysisError, match="no memory functions"):
        memory_figure(sink.run)


def with_keys(sink, layers, heads=2):
    for layer in layers:
        ranks = [64.0 - 8 * layer - head for head in range(heads)]
        write_key_ranks(
            sink, {"layer": layer, "mode": "data"}, range(heads), ranks, 64.0, samples=4
        )


def test_keys_of_attention_and_how_many_of_them_are_different():
    sink = MemorySink(Manifest(model_id="me/llama", revision="r", mode="data"))
    with_keys(sink, range(3))
    keys, ranks, heads = rows_of(memory_figure(sink.run))
    assert [row["keys"] for row in keys] == [64, 64, 64]
    assert [row["keys"] for row in ranks] == [63.5, 55.5, 47.5]
    assert [row["keys"] for row in heads] == [64, 63, 56, 55, 48, 47]
    svg = render(memory_figure(sink.run), "svg")
    assert b"NaN" not in svg
    assert {"Keys that attention can tell apart", "keys", "layer"} <= set(words(svg))


def test_a_hybrid_has_keys_beside_its_curves():
    run, sink = made(), MemorySink(Manifest(model_id="me/jamba", revision="r", mode="data"))
    sink.append(
        MEMORY_FUNCTION, run.table(MEMORY_FUNCTION.name).drop_columns(["model_id", "revision"])
    )
    with_keys(sink, [1])
    figure = memory_figure(sink.run)
    assert len(rows_of(figure)) == 5  # curves, precisions, and three of the keys
    said = words(render(figure, "svg"))
    assert {"Memory of each layer", "Keys that attention can tell apart"} <= set(said)


def test_sets_are_told_apart_by_colour_and_their_steps_by_dash():
    run = eigenvalue_memory(["s4d-lin", "lin"], 8, [0.01, 0.1], MemoryOptions(horizon=256))
    chart = eigenvalue_set_figure(run)
    moduli, curves = rows_of(chart)
    for rows in (moduli, curves):
        assert {(row["set"], row["step"]) for row in rows} == {
            ("s4d-lin", "dt 0.01"), ("s4d-lin", "dt 0.1"), ("lin", "no step"),
        }  # fmt: skip
    lin = [row["modulus"] for row in moduli if row["set"] == "lin"]
    assert lin == pytest.approx([k / 9 for k in range(8, 0, -1)], abs=1e-6)
    said = words(render(chart, "svg"))
    assert {"s4d-lin", "lin", "dt 0.01", "no step", "Memory function"} <= set(said)
