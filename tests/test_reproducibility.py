"""docs/reproducibility.md: what a processor without AVX computes otherwise, within what it says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.reproducibility import MACHINES, largest_difference
from spectrakit.tables import read_run

#: The page's largest differences, by mode; runs here are shorter than those that were measured.
WITHIN = {"weights": 1e-12, "data": 1e-4}
RUNS = {
    "weights": ["tiny-mamba", "--analyses", "spectrum,lyapunov,memory"],
    "data": ["tiny-llama", "--analyses", "spectrum,lyapunov,kernel,similarity,propagation",
             "--max-tokens", "512", "--seq-len", "128"],
}  # fmt: skip


def run_on(machine, words, folder):
    command = [sys.executable, "-m", "spectrakit", "analyze", *words, "--no-figures"]
    subprocess.run(
        [*command, "--out", str(folder)],
        env=os.environ | machine,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return read_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize("mode", RUNS)
def test_another_processor_gives_the_same_to_the_digits_that_are_claimed(mode, tmp_path):
    words = [*RUNS[mode], "--mode", mode]
    one = run_on({}, words, tmp_path / "one")
    other = run_on(MACHINES["no AVX, 1 thread"], words, tmp_path / "other")
    assert one.tables == other.tables
    for table in set(one.tables) - {"spectrum_histogram"}:  # whose rows are bins
        for column in one.table(table).column_names:
            pair = (run.table(table)[column] for run in (one, other))
            assert largest_difference(*pair) <= WITHIN[mode], f"{table}.{column}"


def test_what_differs_would_be_found():
    import pyarrow as pa

    def column(*values):
        return pa.chunked_array([pa.array(values)])

    assert largest_difference(column(1.0, None), column(1.0, None)) == 0
    assert largest_difference(column(1.0, 2.0), column(1.0, 2.2)) == pytest.approx(1 / 11)
    assert largest_difference(column("a"), column("b")) == float("inf")
    assert largest_difference(column(1.0, None), column(1.0, 2.0)) == float("inf")
    assert largest_difference(column(1.0), column(1.0, 2.0)) == float("inf")
