"""Weights mode on a local 516 MB file, against importing torch and doing nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, median_peak, python, ratio, run_process, spectrakit


def rows(checkpoints: Checkpoints) -> Iterator[Row]:
    for name, folder in (("safetensors", checkpoints.safetensors), (".bin", checkpoints.zipped)):
        ours, torch = _in_turns(folder, "--no-figures")
        figure = ratio(ours, torch)
        yield Row(
            f"`analyze`, {name}, wall time / `import torch`", f"{figure:.2f}", "<= 2", figure <= 2
        )
        above = (median_peak(ours) - median_peak(torch)) / 1e6
        bound = "<= 150 MB"
        yield Row(
            f"`analyze`, {name}, peak memory above it", f"{above:.0f} MB", bound, above <= 150
        )
    ours, torch = _in_turns(checkpoints.safetensors, "--figures")
    figure = ratio(ours, torch)
    yield Row("the same with the picture, wall time", f"{figure:.2f}", "<= 4", figure <= 4)


def _in_turns(folder: Path, figures: str):
    with tempfile.TemporaryDirectory() as out:
        command = spectrakit("analyze", str(folder), figures, "--out", f"{out}/run")
        return in_turns(lambda: run_process(command), lambda: run_process(python("import torch")))
