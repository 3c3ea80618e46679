"""Layers for the tests of the memory analysis, and what it writes of them."""

from __future__ import annotations

import torch

from spectrakit.analyses.base import Request
from spectrakit.analyses.memory.analysis import Memory
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.architectures import Layer
from spectrakit.dynamics import DeltaRule, OuterProduct, Recurrence, SeparableDecay
from spectrakit.tables import Manifest, MemorySink

MANIFEST = Manifest(model_id="m", revision="r", mode="data")


def tables(*seen, **options):
    sink = MemorySink(MANIFEST)
    seen_by(Memory(sink, Request(MemoryOptions(**options))), *seen).finish()
    run = sink.run
    return [
        run.table(name).to_pylist() if name in run.tables else []
        for name in ("memory_function", "memory_summary")
    ]


def seen_by(analysis, *seen):
    for layer, rec, valid in seen:
        analysis.see(Layer(layer, f"layers.{layer}", "test"), rec, valid)
    return analysis


def recurrence(operator, mode="data", axis="head", width=1, write=None, read=None, starts=None):
    return Recurrence(
        operator, mode=mode, gauge="unnormalised", head_axis=axis, width=width,
        input_map=write, output_map=read, starts=starts,
    )  # fmt: skip


def every(batch, tokens):
    return torch.ones(batch, tokens, dtype=torch.bool)


RATES = torch.tensor([[0.1, 0.3], [0.5, 1.5], [0.2, 0.2]], dtype=torch.float64)


def mamba_layer():
    """Three channels from weights, one of which holds one input only."""
    step = torch.ones(3, dtype=torch.float64)
    return recurrence(SeparableDecay(step, RATES), "nominal", "channel")


def delta(batch=2, tokens=30, heads=3, states=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    key = torch.randn(batch, tokens, heads, states, generator=generator, dtype=torch.float64)
    key = torch.nn.functional.normalize(key, dim=-1)
    beta, decay = torch.rand(2, batch, tokens, heads, generator=generator, dtype=torch.float64)
    return recurrence(DeltaRule(-decay / 9, beta, key), write=OuterProduct(key, gain=beta))
