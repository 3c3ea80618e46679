"""Summaries of what is multiplied up over tokens: Lyapunov exponents and kernels by lag."""

from __future__ import annotations

import math

import pytest

import spectrakit as sk
from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY
from spectrakit.analyses.kernel.tables import DECAY_KERNEL, DECAY_KERNEL_SUMMARY
from spectrakit.analyses.lyapunov.tables import LYAPUNOV
from spectrakit.analyses.probe.tables import PROBE
from spectrakit.comparison import compare_runs
from spectrakit.tables import LAYERS, Manifest, MemorySink
from spectrakit.token_options import TokenOptions

LABELS = {"layer": 0, "mode": "data", "gauge": "unnormalised"}


def one_layer(table, columns, rows):
    """A run of one layer with `rows` of `table` for it."""
    return of_one_layer(table, LABELS | columns, rows)


def of_one_layer(table, columns, rows):
    """A run of one layer with `rows` of `table`."""
    sink = MemorySink(Manifest(model_id="model", revision="a", mode="data"))
    layer = {"layer": 0, "path": "0", "kind": "mamba", "status": "analysed", "bytes_read": 0}
    sink.append(LAYERS, LAYERS.table(layer, rows=1))
    sink.append(table, table.table(columns, rows=rows))
    return sink.run


def exponents(values, multiplicity, tokens=None, erased=0):
    columns = {
        "head": list(range(len(values))), "index": 0, "exponent": values,
        "timescale_steps": [-1 / value for value in values], "multiplicity": multiplicity,
        "tokens": tokens, "sequences": tokens and 4, "erased": tokens and erased,
        "last_change": 0.0, "sweeps": 0,
    }  # fmt: skip
    return one_layer(LYAPUNOV, columns, len(values))


def differences(*runs):
    sink = MemorySink(runs[0].manifest)
    compare_runs(runs, sink)
    return {row["metric"]: row for row in sink.run.table("summary_difference").to_pylist()}


def test_exponents_are_summarised_by_layer_as_often_as_they_occur():
    found = differences(exponents([-0.1, -0.4], [3, 1]), exponents([-0.2, -0.3], [1, 4]))
    assert {name: (row["value"], row["other_value"]) for name, row in found.items()} == {
        "largest_exponent": (-0.1, -0.2),
        "mean_exponent": (pytest.approx(-0.7 / 4), pytest.approx(-1.4 / 5)),
        "smallest_exponent": (-0.4, -0.3),
        "erased_share": (0, 0),
    }
    assert found["largest_exponent"]["difference"] == pytest.approx(-0.1)
    # log|lambda| itself, in both.
    assert {(row["uncertainty"], row["reason"]) for row in found.values()} == {(0.0, None)}


def test_exponents_over_tokens_have_no_uncertainty_and_the_reason():
    found = differences(exponents([-0.1], 1, tokens=64), exponents([-0.2], 1))
    (row,) = (row for name, row in found.items() if name == "mean_exponent")
    assert row["difference"] == pytest.approx(-0.1)
    assert row["uncertainty"] is None
    assert row["reason"] == "no-standard-error"


def test_singular_products_do_not_differ():
    found = differences(exponents([-math.inf] * 2, 1), exponents([-math.inf] * 2, 1))
    assert [row["difference"] for row in found.values()] == [0.0] * 4


@pytest.mark.parametrize("tokens", [None, 64])
def test_what_is_erased_is_counted_and_poisons_no_mean(tokens):
    """Of the first two of three directions nothing, of the last, twice, all or half."""
    run = exponents([-0.1, -0.2, -math.inf], [1, 1, 2], tokens, [0, 0, 4])
    found = differences(run, exponents([-0.1, -0.2, -0.6], [1, 1, 2], 64, [0, 0, 2]))
    values = {name: (row["value"], row["other_value"]) for name, row in found.items()}
    assert values == {
        "largest_exponent": (-0.1, -0.1),
        "mean_exponent": (pytest.approx(-0.15), pytest.approx(-0.3)),
        "smallest_exponent": (-0.2, -0.6),
        "erased_share": (0.5, 0.25),
    }


def one_layer_remembers(values):
    columns = {
        "driven_depth": None, "depth": None, "layer": 0, "delay": list(range(len(values))),
        "value": values, "threshold": 0.1, "remembered": True, "samples": 64, "dimension": 8.0,
        "ridge": 0.0, "reason": None,
    }  # fmt: skip
    return of_one_layer(EMPIRICAL_MEMORY, columns, len(values))


def one_layer_tells(accuracy, depth=0):
    """A probe whose interval is that of a standard error of 0.05."""
    columns = {
        "prompt_set": "kv-retrieval", "target": "gold_position", "depth": depth,
        "gold_position": [None, 0], "accuracy": [accuracy, 1.0],
        "accuracy_low": [accuracy - 0.098, 0.9], "accuracy_high": [accuracy + 0.098, 1.0],
        "shuffled_accuracy": 0.1, "chance": 0.1, "reason": None, "model_accuracy": 0.5,
        "model_accuracy_low": 0.4, "model_accuracy_high": 0.6, "model_reason": None,
        "items": 10, "prompts": 100, "sources": 10, "features": 8,
    }  # fmt: skip
    return of_one_layer(PROBE, columns, 2)


def kernel(first, last):
    """A layer that is carried `first` and `last` far, on the whole; its one head twice as far."""
    columns = {
        "head": [None, None, 0, 0], "lag_low": [1, 16] * 2, "lag_high": [1, 17] * 2, "pairs": 9,
        "token_set": "all", "mass": [first / 2, last / 2, first, last],
        "kernel_mean": [first, last, 2 * first, 2 * last],
        "log_decay_mean": [-0.5, -1.0, -0.5, -1.0],
    }  # fmt: skip
    return one_layer(DECAY_KERNEL, columns, 4)


def test_kernels_are_compared_lag_by_lag():
    found = differences(kernel(0.5, 0.25), kernel(0.75, 0.0))
    assert {name: row["difference"] for name, row in found.items()} == {
        "mass at lag 1 all": 0.125,
        "kernel_mean at lag 1 all": 0.25,
        "log_decay_mean at lag 1 all": 0.0,
        "mass at lags 16 to 17 all": -0.125,
        "kernel_mean at lags 16 to 17 all": -0.25,
        "log_decay_mean at lags 16 to 17 all": 0.0,
    }
    assert {row["reason"] for row in found.values()} == {"no-standard-error"}


def kernel_reach(lag, share):
    columns = {
        "head": [None, None, 0], "token_set": ["all", "without_first", "all"], "outputs": 60,
        "mass": 1.0, "mass_lag_0": 0.1, "mass_lag_1": 0.1, "lag_50": [lag, lag - 1, 3],
        "lag_90": 40, "first_token_share": share, "learned_sink_share": None,
    }  # fmt: skip
    return one_layer(DECAY_KERNEL_SUMMARY, columns, 3)


def test_how_far_kernels_reach_is_compared_with_and_without_the_first_token():
    found = differences(kernel_reach(9, 0.5), kernel_reach(5, 0.25))
    assert found["kernel lag_50 all"]["difference"] == -4
    assert found["kernel lag_50 without_first"]["value"] == 8
    assert found["kernel first_token_share all"]["difference"] == -0.25


def test_they_are_compared_of_real_runs_and_shown(command, tmp_path):
    options = {"analyses": ("lyapunov", "kernel"), "mode": "data"}
    source = TokenOptions(max_tokens=256, seq_len=64)
    runs = {
        column: sk.analyze(name, source=source, out=tmp_path / name, **options)
        for name, column in (("tiny-mamba", "value"), ("tiny-llama", "other_value"))
    }
    done = command("compare", "tiny-mamba", "tiny-llama", "--out", "both", "--no-figures")
    assert done.code == 0, done.err
    rows = sk.read_run(tmp_path / "both").table("summary_difference").to_pylist()
    for column, run in runs.items():
        largest = run.table("lyapunov").to_pandas().groupby("layer")["exponent"].max()
        kernel = run.table("decay_kernel").to_pandas()
        chosen = kernel[kernel["head"].isna() & (kernel["lag_low"] == 1)]
        chosen = chosen[chosen["token_set"] == "all"]
        for metric, expected in (
            ("largest_exponent", largest),
            ("mass at lag 1 all", chosen.set_index("layer")["mass"]),
        ):
            found = {row["layer"]: row[column] for row in rows if row["metric"] == metric}
            assert found == expected.to_dict()
    assert "Lyapunov exponents of the product of transitions" in done.out
    assert "what inputs at a lag contribute" in done.out
    assert "1st token" in done.out


def test_mixers_that_were_driven_alone_are_compared_by_layer():
    found = differences(one_layer_remembers([0.9, 0.5]), one_layer_remembers([0.9, 0.2]))
    row = found["value at delay 1"]
    assert (row["layer"], row["other_layer"]) == (0, 0)
    assert row["difference"] == pytest.approx(-0.3)


def test_probes_are_compared_with_the_errors_of_their_intervals():
    found = differences(one_layer_tells(0.5), one_layer_tells(0.7))
    assert set(found) == {
        "accuracy kv-retrieval gold_position", "model_accuracy kv-retrieval gold_position",
    }  # fmt: skip
    row = found["accuracy kv-retrieval gold_position"]
    assert row["difference"] == pytest.approx(0.2)
    assert row["uncertainty"] == pytest.approx(2**0.5 * 0.05, rel=1e-3)


def test_what_the_model_itself_chose_is_compared_once():
    found = differences(one_layer_tells(0.5, depth=1), one_layer_tells(0.7, depth=1))
    assert set(found) == {"accuracy kv-retrieval gold_position"}
