"""`spectrakit memory`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from spectrakit.dynamics.eigenvalue_sets import COMPARED_SETS, EIGENVALUE_SETS
from spectrakit.tables import read_run


def test_it_prints_a_row_per_system_and_writes_the_run(command, tmp_path):
    done = command("memory", "--preset", "s4d-lin,lin", "--n", 16, "--dt", "1e-2", "--out", "run")
    assert done.code == 0
    assert "s4d-lin" in done.out
    assert "note: lin: approximate" in done.err
    assert "wrote run" in done.err
    run = read_run(tmp_path / "run")
    assert {"layers", "memory_function", "memory_summary", "spectrum"} <= set(run.tables)
    assert {file.name for file in (tmp_path / "run").iterdir()} >= {"memory.png", "memory.svg"}
    assert run.manifest.spec["n"] == 16


def test_without_options_it_compares_the_five_sets_of_the_paper(command, tmp_path):
    done = command("memory", "--horizon", 64, "--no-figures", "--json", "--dt", "0.01")
    document = json.loads(done.out)
    folder = tmp_path / document["folder"]
    paths = [row["path"] for row in read_run(folder).table("layers").to_pylist()]
    assert tuple(path.partition(",")[0] for path in paths) == COMPARED_SETS
    assert document["figures"] == []
    exact = [row for row in document["memory"] if row["precision"] == "exact"]
    assert [row["rank"] for row in exact] == [32, 31, 32, 32, 32]


def test_a_finite_past_is_the_papers_matrix(command):
    arguments = ("memory", "--preset", "s4d-lin", "--n", 8, "--dt", "1e-3", "--horizon", 256)
    found = {}
    for past in ("infinite", "horizon"):
        done = command(*arguments, "--past", past, "--no-figures", "--json", "--out", past)
        (found[past], *_) = json.loads(done.out)["memory"]
    assert found["horizon"]["capacity_within"] == pytest.approx(7)
    assert found["infinite"]["capacity_within"] < 3


@pytest.mark.parametrize(("arguments", "message"), [
    (("--preset", "s6"), "unknown set of eigenvalues 's6'"),
    (("--dt", "fast"), "'fast' is not a list of steps"),
    (("--dt", "0"), "steps > 0"),
    (("--n", "7"), "even number"),
    (("--horizon", "0"), "--horizon must be at least 1, not 0"),
])  # fmt: skip
def test_what_it_refuses(command, tmp_path, arguments, message):
    done = command("memory", *arguments)
    assert done.code == 2
    assert message in done.err
    assert "try:" in done.err or "horizon" in message
    assert list(tmp_path.iterdir()) == []


def test_its_help_names_every_set(command):
    done = command("memory", "--help")
    assert all(name in done.out for name in EIGENVALUE_SETS)


def test_it_is_listed_without_loading_torch():
    code = (
        "import sys, spectrakit.cli.memory, spectrakit.analyses.memory\n"
        "print({'torch', 'numpy', 'pyarrow', 'altair'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
