"""What the flow of hidden states costs beside the forward pass that shows them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import spectrakit as sk
from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, timed
from spectrakit.analyses.base import Request
from spectrakit.analyses.propagation.analysis import Propagation
from spectrakit.architectures.base import RunnableModel
from spectrakit.architectures.transformers_model import TransformersModel, quiet_transformers
from spectrakit.tables import Manifest, MemorySink

TOKENS = 1024
_TIMES = 5


def rows(checkpoints: Checkpoints) -> Iterator[Row]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(50_000, (1, TOKENS), generator=generator)
    for name, folder in (("Mamba", checkpoints.safetensors), ("Mamba-2", checkpoints.mamba2)):
        with sk.open_checkpoint(str(folder)) as opened, torch.no_grad(), quiet_transformers():
            model = opened.architecture.load(opened.checkpoint, "cpu")
            assert isinstance(model, TransformersModel)
            turns = [_turn(model, tokens) for _ in range(1 + _TIMES)][1:]
        what = f"{name}, 130m shape, {TOKENS} tokens: flow metrics, as a share of"
        share = statistics.median(turn.added / turn.theirs for turn in turns)
        yield Row(
            f"{what} transformers' forward pass",
            f"{100 * share:.1f} %",
            "<= 15 %",
            share <= 0.15,
        )
        share = statistics.median(turn.added / turn.ours for turn in turns)
        yield Row(f"{what} our own forward pass", f"{100 * share:.1f} %", "none", True)


@dataclass(frozen=True)
class _Turn:
    """Seconds in the analysis, and in the forward passes: ours that it watched, and theirs."""

    added: float
    ours: float
    theirs: float


def _turn(model: TransformersModel, tokens: torch.Tensor) -> _Turn:
    bare = timed(lambda: model.model.base_model(input_ids=tokens, use_cache=False))
    added, ours = _watched(model, tokens)
    return _Turn(added, ours, bare.seconds)


def _watched(model: RunnableModel, tokens: torch.Tensor) -> tuple[float, float]:
    """Seconds in the analysis, and in the rest of the same pass."""
    analysis = Propagation(MemorySink(Manifest(model_id="m", revision="r", mode="data")), Request())
    valid = torch.ones_like(tokens, dtype=torch.bool)
    added = 0.0

    def on_states(depth: int, states: torch.Tensor) -> None:
        nonlocal added
        began = time.perf_counter()
        analysis.see_states(depth, states, valid)
        added += time.perf_counter() - began

    began = time.perf_counter()
    model.run(tokens, on_states=on_states)
    passed = time.perf_counter() - began - added
    began = time.perf_counter()
    analysis.end_batch()
    analysis.finish()
    return added + time.perf_counter() - began, passed
