"""Empirical memory: what is read behind a driven block is not what a driven model has there."""

from __future__ import annotations

from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY
from spectrakit.comparison import compare_runs
from spectrakit.comparison.run_settings import other_settings
from spectrakit.tables import LAYERS, Manifest, MemorySink


def driven(drive, values):
    """A run where `values` are read at delay 0, by depth where the signal enters and is read."""
    spec = {"options": {"empirical_memory": {"drive": drive}}}
    sink = MemorySink(Manifest(model_id="model", revision="a", mode="data", spec=spec))
    layer = {"layer": 0, "path": "0", "kind": "mamba", "status": "analysed", "bytes_read": 0}
    sink.append(LAYERS, LAYERS.table(layer, rows=1))
    columns = {
        "driven_depth": [entry for entry, _ in values], "depth": [read for _, read in values],
        "layer": None, "delay": 0, "value": list(values.values()), "threshold": 0.1,
        "samples": 64, "dimension": 8.0, "reason": None,
    }  # fmt: skip
    sink.append(EMPIRICAL_MEMORY, EMPIRICAL_MEMORY.table(columns, rows=len(values)))
    return sink.run


def blocks(*values):
    """A run of --drive blocks: every block is read where the signal enters, and behind."""
    behind = {(block, block + 1): value for block, value in enumerate(values)}
    return driven("blocks", {(block, block): 1.0 for block in range(len(values))} | behind)


def model(*values):
    """A run of --drive model."""
    return driven("model", {(0, depth): value for depth, value in enumerate(values)})


def differences(*runs):
    sink = MemorySink(runs[0].manifest)
    compare_runs(runs, sink)
    if "summary_difference" not in sink.run.tables:
        return []
    return sink.run.table("summary_difference").to_pylist()


def found(*runs):
    return [(row["depth"], row["value"], row["other_value"]) for row in differences(*runs)]


def test_every_block_is_compared_with_the_same_block():
    runs = blocks(0.9, 0.5, 0.25), blocks(0.8, 0.7, 0.6)
    assert found(*runs) == [(0.0, 0.9, 0.8), (0.5, 0.5, 0.7), (1.0, 0.25, 0.6)]
    metrics = {row["metric"] for row in differences(*runs)}
    assert metrics == {"value behind the driven block at delay 0"}


def test_blocks_are_paired_by_relative_depth_among_all_blocks():
    runs = blocks(0.9, 0.5, 0.25), blocks(0.1, 0.2, 0.3, 0.4, 0.5)
    assert found(*runs) == [(0.0, 0.9, 0.1), (0.5, 0.5, 0.3), (1.0, 0.25, 0.5)]


def test_depths_of_a_driven_model_are_paired_by_relative_depth_among_all():
    runs = model(1.0, 0.5, 0.25), model(1.0, 0.9, 0.8, 0.7, 0.6)
    assert found(*runs) == [(0.0, 1.0, 1.0), (0.5, 0.5, 0.8), (1.0, 0.25, 0.6)]


def test_a_depth_without_a_value_counts_among_the_depths():
    runs = model(1.0, 0.5, 0.25), model(1.0, 0.9, None)
    assert found(*runs) == [(0.0, 1.0, 1.0), (0.5, 0.5, 0.9), (1.0, 0.25, None)]


def test_a_driven_model_is_not_compared_with_driven_blocks():
    runs = model(1.0, 0.9, 0.5, 0.25), blocks(0.9, 0.5, 0.25)
    assert differences(*runs) == []
    assert differences(*reversed(runs)) == []
    assert other_settings(*runs) == "empirical_memory.drive model and blocks"
