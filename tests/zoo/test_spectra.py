"""Pooled spectra of runs, against the eigenvalues themselves."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import wasserstein_distance

from spectrakit.errors import MalformedError
from spectrakit.tables import read_run
from spectrakit.tables.reader import read_manifest
from spectrakit.zoo.results import Results
from spectrakit.zoo.spectra import CELL, CELLS, Comparable, NoSpectrumError, spectra
from tests.report.synthetic import SyntheticRun
from tests.zoo.zoos import TEXT, data_run, log_uniform, weights_run, write_run

#: Decades and shares by which bins of 1 % may move things.
BIN = 2 * math.log10(1.01)


def of(zoo, name):
    (found,) = [spectra(path, m) for run, path, m in Results(zoo).runs() if run == name]
    return found


def one(zoo, name):
    (found,) = of(zoo, name).values()
    return found


def test_the_quantiles_are_those_of_layers_with_equal_weight(tmp_path):
    small, large = log_uniform(0, 1e-4, 1e-2, 100), log_uniform(1, 1e-2, 1, 5000)
    weights_run(tmp_path, "m", small, large)
    found = one(tmp_path, "m")
    timescales = 1 / np.concatenate([np.repeat(small, 50), large])
    for value, share in ((found.timescale, 0.95), (found.median, 0.5)):
        expected = np.quantile(timescales, share, method="inverted_cdf")
        assert value == pytest.approx(expected, rel=0.011)
    assert found.layers == 2
    assert found.longest == (
        pytest.approx(np.quantile(1 / small, 0.95, method="inverted_cdf"), rel=1e-12),
        0,
    )


def test_a_real_run_has_the_quantiles_of_its_exact_eigenvalues(analysed):
    run = read_run(analysed / "runs" / "seed=1")
    rows = run.table("spectrum").to_pylist()
    weight = np.array([row["multiplicity"] for row in rows], float)
    layer = np.array([row["layer"] for row in rows])
    weight /= np.bincount(layer, weight)[layer]
    timescale = np.array([row["timescale_steps"] for row in rows])
    order = np.argsort(timescale)
    place = np.searchsorted(np.cumsum(weight[order]) / weight.sum(), 0.95 - 1e-9)
    found = one(analysed, "seed=1")
    assert found.timescale == pytest.approx(timescale[order][place], rel=0.011)


def test_the_shares_are_those_of_the_grid(tmp_path):
    rates = log_uniform(2, 1e-6, 10, 1000)
    weights_run(tmp_path, "m", rates)
    below = one(tmp_path, "m").below
    assert below.shape == (CELLS,)
    assert below[-1] == pytest.approx(1)
    edges = 1e-7 * 1.01 ** np.arange(1, CELLS + 1)  # within a bin of those of the grid
    expected = np.searchsorted(np.sort(rates), edges) / len(rates)
    assert np.abs(below - expected).max() < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_is_that_of_the_eigenvalues_within_the_bins(tmp_path, seed):
    one_, other = log_uniform(seed, 1e-5, 1), log_uniform(seed + 9, 1e-3, 30, 300)
    weights_run(tmp_path, "a", one_)
    weights_run(tmp_path, "b", other)
    apart = np.abs(one(tmp_path, "a").below - one(tmp_path, "b").below).sum() * CELL
    expected = wasserstein_distance(np.log10(one_), np.log10(other))
    assert apart == pytest.approx(expected, abs=BIN)


def test_what_never_decays_and_what_is_gone_lie_at_the_ends(tmp_path):
    weights_run(tmp_path, "m", [-0.5, 0.0, 1e-9, 0.1, 0.1, 500.0, np.inf, np.inf])
    below = one(tmp_path, "m").below
    assert below[0] == pytest.approx(3 / 8)
    assert below[-2] == pytest.approx(5 / 8)


@pytest.mark.parametrize(
    ("rates", "timescale", "median"),
    [
        ([0.0] * 10 + [0.1] * 90, math.inf, 10),
        ([-1.0] * 60 + [0.1] * 40, math.inf, math.inf),
        ([0.0] * 4 + [0.1] * 96, 10, 10),
        ([np.inf] * 100, 0, 0),
    ],
)
def test_infinite_timescales(tmp_path, rates, timescale, median):
    weights_run(tmp_path, "m", rates)
    found = one(tmp_path, "m")
    assert (found.timescale, found.median) == pytest.approx((timescale, median), rel=0.011)


def test_kinds_of_layers_are_kept_apart(tmp_path):
    made = SyntheticRun("hybrid", mode="data")
    made.layer([0.1], mode="data", exact=False)
    made.layer([0.01], mode="data", gauge="retained", kind="softmax_attention", exact=False)
    made.layer([9.0], mode="data", gauge="dsf", exact=False, new_layer=False)
    made.layer([0.5], mode="static", kind="s4d")
    write_run(tmp_path, "hybrid", made)
    found = of(tmp_path, "hybrid")
    assert {(group.mode, group.gauge): spectrum.timescale for group, spectrum in found.items()} == {
        ("data", "unnormalised"): pytest.approx(10, rel=0.011),
        ("data", "retained"): pytest.approx(100, rel=0.011),
        ("static", "unnormalised"): pytest.approx(2, rel=0.011),
    }


def test_text_and_length_are_told_in_data_mode_alone(tmp_path):
    weights_run(tmp_path, "w", [0.1])
    data_run(tmp_path, "bundled", [0.1])
    told = TEXT | {
        "spec": {"source": {"text": "/home/me/my\x1b.txt", "seq_len": 64}},
        "contents": {"text": "0123456789abcdef"},
    }
    data_run(tmp_path, "own", [0.1], manifest=told)
    groups = {name: next(iter(of(tmp_path, name))) for name in ("w", "bundled", "own")}
    assert groups["w"] == Comparable("nominal", "unnormalised")
    assert groups["bundled"] == Comparable("data", "unnormalised", seq_len=512)
    assert groups["own"] == Comparable("data", "unnormalised", "0123456789abcdef", 64)
    assert [groups[name].text for name in ("w", "bundled", "own")] == [
        "", "the bundled text", r"my\x1b.txt (01234567)",
    ]  # fmt: skip


def test_a_copy_of_a_file_is_the_same_text(tmp_path):
    for name, setting in (("a", "text"), ("b", "text"), ("c", "tokens")):
        told = TEXT | {
            "spec": {"source": {setting: f"/of/{name}", "seq_len": 64}},
            "contents": {setting: "feed" * 16 if name != "c" else "beef" * 16},
        }
        data_run(tmp_path, name, [0.1], manifest=told)
    a, b, c = (next(iter(of(tmp_path, name))) for name in "abc")
    assert a == b != c
    assert c.text == "c (beefbeef)"


def test_a_run_without_a_spectrum_says_so(tmp_path):
    write_run(tmp_path, "none", SyntheticRun("none").absent())
    made = SyntheticRun("dsf", mode="data")
    made.layer([0.1], mode="data", gauge="dsf", exact=False)
    write_run(tmp_path, "dsf", made)
    with pytest.raises(NoSpectrumError, match="no table spectrum_histogram"):
        of(tmp_path, "none")
    with pytest.raises(NoSpectrumError, match="in a gauge that models are compared in"):
        of(tmp_path, "dsf")


def test_the_spread_over_tokens_is_the_mean_of_the_layers(analysed):
    name = "org--it's@0a1b2c3d"
    rows = read_run(analysed / "runs" / name).table("spectrum_summary").to_pylist()
    layers = [row["token_spread"] for row in rows if row["head"] is None]
    found = one(analysed, name)
    assert found.spread == pytest.approx(np.mean(layers), rel=1e-12)
    assert found.widest == (max(layers), int(np.argmax(layers)))
    assert one(analysed, "seed=1").spread is None


@pytest.mark.parametrize("wrong", ["a text in place of numbers", "no such column", "no count"])
def test_a_table_that_is_another_is_malformed(tmp_path, wrong):
    weights_run(tmp_path, "m", [0.1, 0.2])
    path = tmp_path / "runs" / "m" / "spectrum_histogram.parquet"
    rows = pq.ParquetFile(path).read()
    at = rows.column_names.index("count")
    if wrong == "no such column":
        rows = rows.remove_column(at)
    elif wrong == "no count":
        rows = rows.set_column(at, "count", [[0] * len(rows)])
    else:
        rows = rows.set_column(at, "count", [["x"] * len(rows)])
    pq.write_table(rows, path)
    folder = tmp_path / "runs" / "m"
    with pytest.raises(MalformedError, match="spectrum_histogram"):
        spectra(folder, read_manifest(folder))
