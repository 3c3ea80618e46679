"""Runs of named eigenvalue sets."""

from __future__ import annotations

import numpy as np
import pytest

from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.eigenvalue_memory import eigenvalue_memory, s4_memory
from spectrakit.errors import UsageError
from spectrakit.output import Destination
from spectrakit.report.drawing import draw_charts
from spectrakit.tables import read_run


def named(run):
    """The systems of a run: name, note, and their summary."""
    summaries = {
        row["layer"]: row
        for row in run.table("memory_summary").to_pylist()
        if row["channel"] is None and row["precision"] == "exact"
    }
    layers = run.table("layers").to_pylist()
    return {row["path"]: (row["reason"], summaries.get(row["layer"])) for row in layers}


def test_every_set_with_every_step_is_a_system():
    found = named(eigenvalue_memory(["s4d-lin", "lin"], 16, [1e-2, 1e-1]))
    assert list(found) == ["s4d-lin, dt 0.01", "s4d-lin, dt 0.1", "lin"]
    assert [summary["rank"] for _, summary in found.values()] == [15, 15, 16]
    assert "approximate" in found["lin"][0]
    assert found["s4d-lin, dt 0.01"][0] is None


def test_s4_and_s4d_of_its_eigenvalues_remember_the_same():
    run = eigenvalue_memory(["legs"], 16, [1e-2], MemoryOptions(horizon=2048))
    rows = run.table("memory_function").to_pylist()
    curves = [
        [row["memory"] for row in rows if row["layer"] == layer and row["precision"] == "exact"]
        for layer in (0, 1)
    ]
    np.testing.assert_allclose(curves[1], curves[0], atol=1e-8)
    assert len(curves[0]) > 100
    found = named(run)
    assert found["s4 legs, dt 0.01"][0] == "by S4's own A and B"
    short = named(eigenvalue_memory(["legs"], 16, [1e-2], MemoryOptions(horizon=64)))
    for systems in (found, short):
        of_s4, of_s4d = (systems[name][1] for name in ("s4 legs, dt 0.01", "legs, dt 0.01"))
        for column in ("rank", "capacity_within", "mean_delay"):
            assert of_s4[column] == pytest.approx(of_s4d[column], rel=1e-8)


def test_where_float64_does_not_hold_s4s_matrices_the_run_says_so():
    run = eigenvalue_memory(["legs"], 64, [0.2], MemoryOptions(horizon=64))
    reason, summary = named(run)["s4 legs, dt 0.2"]
    assert "float64 tells only" in reason
    assert summary is None
    statuses = [row["status"] for row in run.table("layers").to_pylist()]
    assert statuses == ["analysed", "failed"]


def test_s4s_memory_sums_to_its_states():
    assert float(s4_memory(12, 0.02, 3000).sum()) == pytest.approx(12, abs=1e-9)


def test_the_eigenvalues_are_there_with_their_conjugates():
    run = eigenvalue_memory(["s4d-inv"], 8, [1e-2])
    spectrum = run.table("spectrum").to_pandas()
    assert spectrum["multiplicity"].sum() == 8
    assert spectrum["im"].sum() == pytest.approx(0, abs=1e-12)


def test_a_run_is_written_with_its_picture(tmp_path):
    out = tmp_path / "run"
    to = Destination(out, draw=draw_charts, command="x")
    run = eigenvalue_memory(["lin"], 8, [], MemoryOptions(horizon=64), to=to)
    again = read_run(out)
    assert again.table("memory_function").equals(run.table("memory_function"))
    assert (out / "memory.png").read_bytes().startswith(b"\x89PNG")
    assert b"lin" in (out / "memory.svg").read_bytes()
    assert again.manifest.model_id == "lin with N = 8"


def test_a_past_that_does_not_fit_is_a_reason_and_no_picture(tmp_path):
    options = MemoryOptions(horizon=1 << 26, past="horizon")
    to = Destination(tmp_path / "run", draw=draw_charts)
    run = eigenvalue_memory(["s4d-lin"], 8, [1e-9], options, to=to)
    (row,) = run.table("memory_summary").to_pylist()
    assert "do not fit in memory" in row["reason"]
    assert "the infinite past where poles decay" in row["reason"]
    assert "memory_function" not in run.tables
    assert not (tmp_path / "run" / "memory.png").exists()


def test_a_past_that_would_take_hours_is_a_reason():
    options = MemoryOptions(horizon=1 << 17, past="horizon")
    run = eigenvalue_memory(["s4d-lin"], 1024, [1e-9], options)
    (row,) = run.table("memory_summary").to_pylist()
    assert "would take hours: take a horizon of 32" in row["reason"]


def test_a_past_that_is_longer_than_the_memory_costs_no_more_than_that():
    options = MemoryOptions(horizon=1 << 30, past="horizon")
    run = eigenvalue_memory(["s4d-lin", "legs"], 8, [1e-2], options)
    infinite = eigenvalue_memory(["s4d-lin", "legs"], 8, [1e-2], MemoryOptions(horizon=1 << 30))
    (lin, s4d, s4), (endless, *_) = (named(found).values() for found in (run, infinite))
    assert [summary["past"] for _, summary in (lin, s4d, s4)] == ["horizon"] * 3
    assert endless[1]["past"] == "infinite"
    for column in ("rank", "capacity_within", "mean_delay"):
        assert lin[1][column] == pytest.approx(endless[1][column], rel=1e-9)
        assert s4[1][column] == pytest.approx(s4d[1][column], rel=1e-8)


@pytest.mark.parametrize(("names", "size", "steps", "message"), [
    (["s5"], 8, [0.1], "unknown set of eigenvalues 's5'"),
    (["lin"], 7, [], "even number"),
    (["lin"], 1 << 13, [], "at most"),
    (["s4d-lin"], 8, [], "steps > 0"),
    (["s4d-lin"], 8, [-0.1], "steps > 0"),
])  # fmt: skip
def test_what_makes_no_comparison(names, size, steps, message):
    with pytest.raises(UsageError, match=message):
        eigenvalue_memory(names, size, steps)
