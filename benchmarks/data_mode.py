"""What the spectrum adds to a forward pass in data mode: time, and memory as tokens grow."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

import spectrakit as sk
from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, run_process, spectrakit, timed
from spectrakit.analyses.spectrum import Spectrum
from spectrakit.tables import Manifest, MemorySink
from tests.support.shapes import MAMBA_130M, mamba, mamba_config, write

TOKENS = 1024


def rows(checkpoints: Checkpoints) -> Iterator[Row]:
    for name, folder in (("Mamba", checkpoints.safetensors), ("Mamba-2", checkpoints.mamba2)):
        added = _added_time(folder)
        what = f"{name} 130m shape, {TOKENS} tokens: spectrum on top of the forward pass"
        yield Row(what, f"{100 * added:.1f} %", "<= 10 %", added <= 0.1)
    few, many = _peak_bytes(2 * TOKENS), _peak_bytes(16 * TOKENS)
    grown = (many - few) / 1e6
    yield Row(
        "peak memory, 16,384 tokens less 2,048", f"{grown:.0f} MB", "does not grow", grown < 20
    )


def _added_time(folder: Path) -> float:
    """Time in the tap and the analysis over the rest of the same forward pass.

    Taken within one pass: two passes in turn differ by more than the analysis costs.
    """
    tokens = torch.randint(50_000, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    valid = torch.ones(1, TOKENS, dtype=torch.bool)
    with sk.open_checkpoint(str(folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        return statistics.median(_share_of_pass(runnable, tokens, valid) for _ in range(5))


def _share_of_pass(runnable, tokens: torch.Tensor, valid: torch.Tensor) -> float:
    spectrum = Spectrum(
        MemorySink(Manifest(model_id="m", revision="r", mode="data")), ("discrete",)
    )
    added = 0.0

    def counted(work):
        def timed_work(*args):
            nonlocal added
            began = time.perf_counter()
            result = work(*args)
            added += time.perf_counter() - began
            return result

        return timed_work

    taps = runnable.taps
    runnable.taps = {index: replace(tap, read=counted(tap.read)) for index, tap in taps.items()}
    see = counted(lambda layer, seen: spectrum.see(layer, seen.recurrence, valid))
    whole = timed(lambda: runnable.run(tokens, see)).seconds
    rest = whole - added
    counted(spectrum.finish)()
    runnable.taps = taps
    return added / rest


def _peak_bytes(tokens: int) -> float:
    """Peak memory of a whole data-mode run of a shallow model of the 130m width."""
    shape = replace(MAMBA_130M, layers=2, vocabulary=256)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(
            Path(scratch) / "model",
            mamba_config(shape, original=False),
            mamba(shape, original=False),
            form="safetensors",
        )
        command = spectrakit(
            "analyze", str(folder), "--mode", "data", "--tokenizer", "bytes", "--no-figures",
            "--batch-size", "1", "--max-tokens", str(tokens), "--out", f"{scratch}/run",
        )  # fmt: skip
        return statistics.median(run_process(command).peak_bytes for _ in range(3))
