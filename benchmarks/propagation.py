"""What the flow of hidden states costs beside the forward pass that shows them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch

import spectrakit as sk
from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row
from spectrakit.analyses.base import Request
from spectrakit.analyses.propagation import Propagation
from spectrakit.architectures.base import RunnableModel
from spectrakit.tables import Manifest, MemorySink

TOKENS = 1024
_TIMES = 5


def rows(checkpoints: Checkpoints) -> Iterator[Row]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(50_000, (1, TOKENS), generator=generator)
    for name, folder in (("Mamba", checkpoints.safetensors), ("Mamba-2", checkpoints.mamba2)):
        with sk.open_checkpoint(str(folder)) as opened:
            model = opened.architecture.load(opened.checkpoint, "cpu")
            shares = [_share(model, tokens) for _ in range(1 + _TIMES)]
        share = statistics.median(shares[1:])
        yield Row(
            f"{name}, 130m shape, {TOKENS} tokens: flow metrics, as a share of our forward pass",
            f"{100 * share:.1f} %",
            "<= 15 %",
            share <= 0.15,
        )


def _share(model: RunnableModel, tokens: torch.Tensor) -> float:
    """Time in the analysis, over that of the same pass without it."""
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
    return (added + time.perf_counter() - began) / passed
