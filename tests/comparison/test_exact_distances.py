"""Distances of decay rates where eigenvalues are exact, binned, or one of each."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.stats import wasserstein_distance

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.spectrum.analysis import Spectrum
from spectrakit.architectures import Layer
from spectrakit.comparison import compare_runs
from spectrakit.dynamics import DiagonalDecay
from spectrakit.tables import LAYERS, MemorySink, Run
from tests.analyses.test_spectrum import MANIFEST, recurrence

#: log10(e): of a shift of log(rate) by one.
DECADES = math.log10(math.e)
ONE_SKETCH = math.log10(1.01)


def distances(*runs):
    sink = MemorySink(runs[0].manifest)
    compare_runs(runs, sink)
    return sink.run.table("decay_distance").to_pylist()


def shifted(folder, out, shift):
    """tiny-mamba2 with `shift`, of a name in the file, added to each A_log."""
    shutil.copytree(folder, out)
    file = out / "model.safetensors"
    state = {name: value + shift(name) if name.endswith("A_log") else value
             for name, value in load_file(file).items()}  # fmt: skip
    save_file(state, file, metadata={"format": "pt"})
    return sk.analyze(str(out))


@pytest.mark.parametrize("shift", [0.003, -0.05, 1.0])
def test_a_shift_of_every_rate_is_the_distance_of_every_layer(tiny_mamba2_folder, tmp_path, shift):
    """Bins a percent wide would tell .00108 or .00216 for a shift of .003, .0013 decades."""
    first = sk.analyze(str(tiny_mamba2_folder))
    rows = distances(first, shifted(tiny_mamba2_folder, tmp_path / "b", lambda _: shift))
    assert [row["layer"] for row in rows] == [0, 1, 2]
    # Files hold A_log in float32.
    expected = pytest.approx([abs(shift) * DECADES] * 3, abs=1e-6)
    assert [row["wasserstein_decades"] for row in rows] == expected
    assert [row["uncertainty_decades"] for row in rows] == [0.0] * 3


def test_distances_of_real_layers_are_those_of_scipy_on_their_rates(tiny_mamba2_folder, tmp_path):
    generator = np.random.default_rng(0)
    runs = [
        sk.analyze(str(tiny_mamba2_folder)),
        shifted(tiny_mamba2_folder, tmp_path / "b", lambda _: float(generator.normal())),
        sk.analyze("tiny-mamba"),
    ]
    rates = [
        {layer: rows["decay_rate"].repeat(rows["multiplicity"]).to_numpy()
         for layer, rows in run.table("spectrum").to_pandas().groupby("layer")}
        for run in runs
    ]  # fmt: skip
    rows = distances(*runs)
    assert len(rows) == 6
    for row in rows:
        one, other = rates[0][row["layer"]], rates[row["other_run"]][row["other_layer"]]
        expected = wasserstein_distance(np.log10(one), np.log10(other))
        assert row["wasserstein_decades"] == pytest.approx(expected, rel=1e-9)
        assert row["uncertainty_decades"] == 0


def run_of(rates, *, exact):
    """A run of one layer with these decay rates (n,), of weights or of as many tokens."""
    sink = MemorySink(MANIFEST)
    layer = {"layer": 0, "path": "0", "kind": "mamba", "status": "analysed", "bytes_read": 0}
    sink.append(LAYERS, LAYERS.table(layer, rows=1))
    analysis = Spectrum(sink, Request())
    log_decay = -torch.tensor(rates, dtype=torch.float64)
    if exact:
        rec, valid = recurrence(DiagonalDecay(log_decay.view(1, -1)), "static"), None
    else:
        # A of the first token acts on nothing, and is not counted.
        log_decay = torch.cat([torch.zeros(1), log_decay])
        valid = torch.ones(1, len(log_decay), dtype=torch.bool)
        rec = recurrence(DiagonalDecay(log_decay.view(1, -1, 1, 1)), "data")
    analysis.see(Layer(0, "0", "mamba"), rec, valid)
    analysis.finish()
    return sink.run


lists = st.lists(st.floats(1e-4, 1e2), min_size=1, max_size=12)


@pytest.mark.parametrize("kinds", [(True, True), (True, False), (False, True), (False, False)])
@settings(max_examples=15)
@given(one=lists, other=lists)
def test_a_sketch_adds_the_width_of_its_bins(kinds, one, other):
    runs = [run_of(rates, exact=kind) for rates, kind in zip((one, other), kinds, strict=True)]
    (row,) = distances(*runs)
    expected = wasserstein_distance(np.log10(one), np.log10(other))
    assert row["uncertainty_decades"] == pytest.approx((2 - sum(kinds)) * ONE_SKETCH)
    off = abs(row["wasserstein_decades"] - expected)
    assert off <= row["uncertainty_decades"] + 1e-9


def test_bins_of_a_run_without_its_eigenvalues_are_no_exact_ones():
    """Their summaries say that rates are exact; what is left of them is not."""
    whole = run_of([0.1, 0.2], exact=True)
    tables = {name: whole.table(name) for name in whole.tables if name != "spectrum"}
    (row,) = distances(Run(None, whole.manifest, tables), whole)
    assert row["uncertainty_decades"] == pytest.approx(ONE_SKETCH)
    assert 0 < row["wasserstein_decades"] <= ONE_SKETCH


def test_error_bounds_of_eigenvalues_are_part_of_it():
    class Unsure(DiagonalDecay):
        def eigenvalues(self):
            found = super().eigenvalues()
            return type(found)(found.log_modulus, error_bound=torch.tensor([[0.0, 1e-4]]))

    rates = torch.tensor([[0.5, 0.01]], dtype=torch.float64)
    sink = MemorySink(MANIFEST)
    layer = {"layer": 0, "path": "0", "kind": "s4", "status": "analysed", "bytes_read": 0}
    sink.append(LAYERS, LAYERS.table(layer, rows=1))
    analysis = Spectrum(sink, Request())
    analysis.see(Layer(0, "0", "s4"), recurrence(Unsure(-rates), "static"), None)
    (row,) = distances(sink.run, run_of([0.5, 0.01], exact=True))
    slowest = -math.log(math.exp(-0.01) + 1e-4)
    assert row["wasserstein_decades"] == 0
    assert row["uncertainty_decades"] >= math.log10(0.01 / slowest)
    assert row["uncertainty_decades"] < 0.005
