"""Data mode against transformers' own forward pass: time, logits, and memory as tokens grow."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch

import spectrakit as sk
from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, ratio, run_process, spectrakit, timed
from spectrakit.analyses.base import Request
from spectrakit.analyses.spectrum.analysis import Spectrum
from spectrakit.architectures.transformers_model import TransformersModel, quiet_transformers
from spectrakit.scans import substitutes
from spectrakit.tables import Manifest, MemorySink
from tests.support.shapes import MAMBA_130M, mamba, mamba_config, write

TOKENS = 1024

#: How often transformers' own forward pass has to fit into all of data mode.
_BOUNDS = {"Mamba": 3.0, "Mamba, without numba": 2.0, "Mamba-2": 1.0}


def rows(checkpoints: Checkpoints) -> Iterator[Row]:
    without_numba = mock.patch.object(substitutes, "COMPILED_FROM", sys.maxsize)
    for name, folder, condition in (
        ("Mamba", checkpoints.safetensors, nullcontext()),
        ("Mamba, without numba", checkpoints.safetensors, without_numba),
        ("Mamba-2", checkpoints.mamba2, nullcontext()),
    ):
        with condition:
            yield from _against_transformers(name, folder)
    few, many = _peak_bytes(2 * TOKENS), _peak_bytes(16 * TOKENS)
    grown = (many - few) / 1e6
    yield Row(
        "peak memory, 16,384 tokens less 2,048", f"{grown:.0f} MB", "does not grow", grown < 20
    )


def _against_transformers(name: str, folder: Path) -> Iterator[Row]:
    what = f"{name}, 130m shape, {TOKENS} tokens"
    with sk.open_checkpoint(str(folder)) as opened, torch.no_grad(), quiet_transformers():
        model = opened.architecture.load(opened.checkpoint, "cpu")
        assert isinstance(model, TransformersModel)
        tokens = torch.randint(50_000, (1, TOKENS), generator=torch.Generator().manual_seed(0))
        data_mode = _DataMode(model, tokens)

        def own() -> None:
            model.model.base_model(input_ids=tokens, use_cache=False)

        slow, fast = in_turns(lambda: timed(own), lambda: timed(data_mode))
        times, bound = ratio(slow, fast), _BOUNDS[name]
        added = statistics.median(
            seconds / run.seconds for seconds, run in zip(data_mode.added[1:], slow, strict=True)
        )
        apart = float((_logits(model, own) - _logits(model, data_mode)).abs().max())
    yield Row(
        f"{what}: all of data mode, against transformers' own forward pass",
        f"{times:.1f}x faster",
        f">= {bound:g}x",
        times >= bound,
    )
    yield Row(f"{what}: largest difference of a logit", f"{apart:.0e}", "<= 1e-4", apart <= 1e-4)
    yield Row(
        f"{what}: spectrum, as a share of transformers' forward pass",
        f"{100 * added:.1f} %",
        "<= 10 %",
        added <= 0.1,
    )


@dataclass
class _DataMode:
    """A forward pass with its spectrum, from tokens to tables; what the spectrum took in each."""

    model: TransformersModel
    tokens: torch.Tensor

    def __post_init__(self) -> None:
        self.added: list[float] = []
        self._taps = self.model.taps

    def __call__(self) -> None:
        self.added.append(0.0)
        sink = MemorySink(Manifest(model_id="m", revision="r", mode="data"))
        spectrum = Spectrum(sink, Request())
        valid = torch.ones_like(self.tokens, dtype=torch.bool)
        self.model.taps = {
            index: replace(tap, read=self._counted(tap.read)) for index, tap in self._taps.items()
        }
        see = self._counted(lambda layer, seen: spectrum.see(layer, seen.recurrence, valid))
        self.model.run(self.tokens, see)
        self._counted(spectrum.finish)()
        self.model.taps = self._taps

    def _counted(self, work: Callable) -> Callable:
        """`work`, whose time is added to that of the run."""

        def timed_work(*args):
            began = time.perf_counter()
            result = work(*args)
            self.added[-1] += time.perf_counter() - began
            return result

        return timed_work


def _logits(model: TransformersModel, run: Callable[[], None]) -> torch.Tensor:
    """What the language head makes of the hidden states of a run."""
    hidden: list[torch.Tensor] = []
    body = model.model.base_model
    handle = body.register_forward_hook(lambda *call: hidden.append(call[-1][0]))
    run()
    handle.remove()
    return model.model.get_output_embeddings()(hidden[0])


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
