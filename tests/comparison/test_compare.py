"""Runs side by side: what is paired with what, what differs, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import spectrakit as sk
from spectrakit.comparison import compare, compare_runs
from spectrakit.comparison.chart import comparison_figure
from spectrakit.comparison.pairing import layer_pairs
from spectrakit.errors import UsageError
from spectrakit.report.figures import render
from spectrakit.tables import MemorySink
from spectrakit.token_options import TokenOptions
from tests.report.synthetic import SyntheticRun

RATES = np.geomspace(1e-3, 1, 64)


def layered(*factors, **options):
    """A run with a layer for each factor, whose decay rates are `RATES` times it."""
    run = SyntheticRun("model")
    for factor in factors:
        run.layer(RATES * factor, **options)
    return run.run


def compared(*runs):
    sink = MemorySink(runs[0].manifest)
    compare_runs(runs, sink)
    return sink.run


def test_distances_are_of_layers_at_the_same_depth():
    found = compared(layered(1, 1), layered(1, 10), layered(100, 1))
    rows = found.table("decay_distance").to_pylist()
    assert [(row["other_run"], row["layer"], row["other_layer"]) for row in rows] == [
        (1, 0, 0), (1, 1, 1), (2, 0, 0), (2, 1, 1),
    ]  # fmt: skip
    distances = [row["wasserstein_decades"] for row in rows]
    # Histograms hold rates in bins one percent wide.
    assert distances == pytest.approx([0, 1, 2, 0], abs=0.005)
    assert {row["reason"] for row in rows} == {None}


def test_models_of_different_depth_are_paired_by_relative_depth():
    pairs = layer_pairs(layered(1, 1, 1), layered(*[1] * 5))
    assert [(pair.layer, pair.other, pair.depth) for pair in pairs] == [
        (0, 0, 0.0), (1, 2, 0.5), (2, 4, 1.0),
    ]  # fmt: skip


def test_a_layer_that_was_not_analysed_is_left_out():
    run = SyntheticRun("model").layer(RATES).absent().layer(RATES).run
    assert [pair.layer for pair in layer_pairs(run, layered(1, 1))] == [0, 2]


def test_summaries_are_subtracted_and_their_bounds_added():
    found = compared(layered(1, exact=False), layered(2, exact=False))
    rows = {row["metric"]: row for row in found.table("summary_difference").to_pylist()}
    median = rows["timescale_q50 discrete"]
    assert median["difference"] == pytest.approx(-median["value"] / 2, rel=0.03)
    assert median["uncertainty"] == pytest.approx(
        0.01 / 0.99 * (median["value"] + median["other_value"])
    )
    share = rows["share_modulus_0p9_1 discrete"]
    assert share["difference"] == share["other_value"] - share["value"]
    assert share["uncertainty"] == pytest.approx(0.008)


def test_exact_summaries_have_no_uncertainty():
    found = compared(layered(1), layered(2))
    rows = found.table("summary_difference").to_pylist()
    assert {row["uncertainty"] for row in rows} == {0.0}


def test_the_depth_of_flow_is_paired_too():
    options = {"analyses": ("spectrum", "propagation"), "mode": "data"}
    source = TokenOptions(max_tokens=512, seq_len=128)
    runs = [sk.analyze(name, source=source, **options) for name in ("tiny-mamba", "tiny-llama")]
    rows = compared(*runs).table("summary_difference").to_pylist()
    flow = [row for row in rows if row["of_table"] == "propagation"]
    assert {row["depth"] for row in flow} == {0.0, 1 / 3, 2 / 3, 1.0}
    same = [row for row in flow if row["metric"] == "inter_token_cosine stream all all"]
    assert len(same) == 4
    assert all(row["uncertainty"] > 0 for row in same)


def test_memory_is_compared_layer_by_layer():
    runs = [sk.analyze(name, analyses="memory") for name in ("tiny-mamba", "tiny-mamba2")]
    rows = compared(*runs).table("summary_difference").to_pylist()
    of_mean = [row for row in rows if row["metric"] == "delay_50 bfloat16"]
    expected = [
        {row["layer"]: row["delay_50"] for row in run.table("memory_summary").to_pylist()
         if row["head"] is row["channel"] is None and row["precision"] == "bfloat16"}
        for run in runs
    ]  # fmt: skip
    assert {row["of_table"] for row in rows} == {"memory_summary"}
    assert {row["layer"]: row["value"] for row in of_mean} | expected[0] == expected[0]
    exact = [row for row in rows if row["metric"] == "rank exact"]
    assert [(row["value"], row["other_value"], row["difference"]) for row in exact] == [
        (16, 1, -15)
    ] * 3  # Mamba-2's one decay of a head holds one input
    assert any(row["metric"] == "capacity_within_65536 float16" for row in rows)


def test_what_a_second_pass_found_is_compared_by_depth():
    options = {"analyses": ("perturbation", "empirical_memory", "similarity"), "mode": "data"}
    source = TokenOptions(max_tokens=4096, seq_len=128)
    runs = [sk.analyze(name, source=source, **options) for name in ("tiny-mamba", "tiny-llama")]
    rows = compared(*runs).table("summary_difference").to_pylist()
    by_table = {name: [row for row in rows if row["of_table"] == name] for name in
                ("perturbation", "empirical_memory", "similarity")}  # fmt: skip
    gains = [row for row in by_table["perturbation"] if row["metric"] == "gain at lag 1"]
    assert [row["depth"] for row in gains] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert all(row["uncertainty"] > 0 for row in gains[1:])
    assert "value at delay 0" in {row["metric"] for row in by_table["empirical_memory"]}
    usual = "cka to next depth without_massive without_massive"
    cka = [row for row in by_table["similarity"] if row["metric"] == usual]
    assert [row["depth"] for row in cka] == [0.0, 0.5, 1.0]


def changed(run, **changes):
    return dataclasses.replace(run, manifest=dataclasses.replace(run.manifest, **changes))


def test_one_run_is_refused():
    with pytest.raises(UsageError, match="nothing to be compared with"):
        compared(layered(1))


def test_other_versions_of_the_tables_are_refused():
    run = layered(1)
    with pytest.raises(UsageError, match=r"different versions \(\d+ and 0\)"):
        compared(run, changed(run, schema_version=0))


def test_other_texts_are_refused():
    run = layered(1)
    spec = {"source": {"text": "book.txt"}}
    runs = [changed(run, mode="data", spec=spec, contents={"text": text}) for text in ("a", "b")]
    with pytest.raises(UsageError, match="were run on different texts") as error:
        compared(*runs)
    assert "the same text" in error.value.hint


def test_runs_with_nothing_in_common_say_so(command, tmp_path):
    write_run(tmp_path / "a", "spectrum")
    write_run(tmp_path / "b", "lyapunov")
    done = command("compare", "a", "b", "--out", "c")
    assert done.code == 0, done.err
    assert "no table in common" in done.out


def write_run(folder, analyses):
    sk.analyze("tiny-mamba2", analyses=analyses, out=folder)


def test_the_command_writes_a_run_with_a_picture(command, tmp_path):
    for name in ("tiny-mamba", "tiny-mamba2"):
        sk.analyze(name, out=tmp_path / name)
    done = command("compare", "tiny-mamba", "tiny-mamba2", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert {run["model_id"] for run in document["runs"]} == {"tiny-mamba", "tiny-mamba2"}
    assert set(document["tables"]) == {"decay_distance", "summary_difference"}
    assert [name[-4:] for name in document["figures"]] == [".png", ".svg"]
    again = command("compare", "tiny-mamba", "tiny-mamba2", "--no-figures")
    assert again.code == 0
    assert "W1" in again.out


def test_a_folder_without_a_run_is_refused(command, tmp_path):
    done = command("compare", tmp_path, tmp_path)
    assert done.code == 2
    assert "no finished run" in done.err


def test_the_picture_shows_every_run(tmp_path):
    runs = [layered(1, 2), layered(3), layered(5, 6, 7)]
    written = compare(runs, tmp_path / "run")
    svg = render(comparison_figure(runs, written), "svg").decode()
    assert all(f"{number}. " in svg for number in (1, 2, 3))
