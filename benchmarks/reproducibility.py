"""How far results agree across machines: the bundled models, on simulated ones.

python -m benchmarks.reproducibility          # every column and its largest difference
python -m benchmarks.reproducibility --save   # kept under benchmarks/results too

Other processors are simulated by what their libraries would choose there: torch's vector width
(ATEN_CPU_CAPABILITY), oneDNN's (ONEDNN_MAX_CPU_ISA) and OpenBLAS's kernels (OPENBLAS_CORETYPE),
with one thread and with two. Each machine is a process of its own, since these are read once.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import measure
from spectrakit.tables import read_run

MACHINES = {
    "this one, 1 thread": {"OMP_NUM_THREADS": "1"},
    "this one, 2 threads": {"OMP_NUM_THREADS": "2"},
    "AVX2, 1 thread": {
        "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "1",
    },
    "no AVX, 1 thread": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem", "OMP_NUM_THREADS": "1",
    },
    "no AVX, 2 threads": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem", "OMP_NUM_THREADS": "2",
    },
}  # fmt: skip

#: Options of `spectrakit analyze` for every run that is compared.
RUNS = {
    "tiny-mamba, weights": ["tiny-mamba", "--mode", "weights", "--analyses", "all"],
    "tiny-mamba2, weights": ["tiny-mamba2", "--mode", "weights", "--analyses", "all"],
    **{
        f"{model}, data": [
            model, "--mode", "data", "--max-tokens", "2048",
            "--analyses", "all,perturbation,empirical_memory",
        ]
        for model in ("tiny-mamba", "tiny-mamba2", "tiny-llama")
    },
}  # fmt: skip


def run_on(machine: dict[str, str], folder: Path) -> None:
    """Every run of `RUNS` on one simulated machine, below `folder`."""
    for name, words in RUNS.items():
        command = [sys.executable, "-m", "spectrakit", "analyze", *words, "--no-figures"]
        subprocess.run(
            [*command, "--out", str(folder / name)],
            env=os.environ | machine,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def largest_difference(one: pa.ChunkedArray, other: pa.ChunkedArray) -> float:
    """Relative, of two columns: 0 where they are equal to the bit, inf where no number explains it.

    A difference is relative to the larger of the two values, and in a column that goes through zero
    to a thousandth of its largest.
    """
    if one.equals(other):
        return 0.0
    numbers = pa.types.is_floating(one.type) or pa.types.is_integer(one.type)
    if len(one) != len(other) or not numbers:
        return float("inf")
    a, b = (np.array(column.to_pylist(), dtype=float) for column in (one, other))
    if (np.isnan(a) != np.isnan(b)).any() or (np.isinf(a) != np.isinf(b)).any():
        return float("inf")
    finite = np.isfinite(a)
    a, b = a[finite], b[finite]
    if not len(a):
        return 0.0
    scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-3 * np.abs(a).max())
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nan_to_num(np.abs(a - b) / scale).max())


def compared() -> dict[tuple[str, str, str], float]:
    """The largest difference of every (kind of run, table, column) over machines and models."""
    found: dict[tuple[str, str, str], float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / str(index) for index in range(len(MACHINES))]
        for machine, folder in zip(MACHINES.values(), folders, strict=True):
            run_on(machine, folder)
        for name in RUNS:
            first, *others = (read_run(folder / name) for folder in folders)
            for other in others:
                for table in first.tables:
                    for column in first.table(table).column_names:
                        key = (name.partition(", ")[2], table, column)
                        pair = (run.table(table)[column] for run in (first, other))
                        found[key] = max(found[key], largest_difference(*pair))
    return dict(found)


def table(found: dict[tuple[str, str, str], float]) -> str:
    """A row for each mode and table: which columns differ, and by how much."""
    lines = ["| mode | table | columns that differ, and the largest relative difference |",
             "|---|---|---|"]  # fmt: skip
    tables = dict.fromkeys((mode, name) for mode, name, _ in found)
    for mode, name in tables:
        differing = {c: d for (m, t, c), d in found.items() if (m, t) == (mode, name) and d > 0}
        said = ", ".join(f"`{column}` {size:.0e}" for column, size in differing.items())
        lines.append(f"| {mode} | `{name}` | {said or 'none: equal to the bit'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true")
    save = parser.parse_args().save
    text = table(compared())
    sys.stdout.write(text)
    if save:
        name = f"{dt.datetime.now(dt.UTC).date()}-{measure.hardware()}-reproducibility.md"
        title = f"# {measure.hardware()}, {dt.datetime.now(dt.UTC).date()}: reproducibility"
        machines = "; ".join(MACHINES)
        how = f"`python -m benchmarks.reproducibility --save`, machines: {machines}."
        (Path(__file__).parent / "results" / name).write_text(f"{title}\n\n{how}\n\n{text}")


if __name__ == "__main__":
    main()
