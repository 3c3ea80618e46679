"""The sketch of a Mamba layer's decays against multiplying them out and counting with NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, python, ratio, run_process, timed
from spectrakit._threads import one_thread
from spectrakit.analyses.spectrum.sketch import DecaySketch

TOKENS, CHANNELS, STATES = 2048, 1536, 16

#: Peak memory of a process with a layer's steps and rates, without and with the sketch of them.
_PROCESS = (
    "import torch\n"
    "from benchmarks.sketch import layer\n"
    "from spectrakit.analyses.spectrum.sketch import DecaySketch\n"
    "torch.set_num_threads(1)\n"
    "step, rate = layer()\n"
)


def layer() -> tuple[torch.Tensor, torch.Tensor]:
    """Steps (tokens, channels) and rates (channels, states) as a trained Mamba has them."""
    generator = torch.Generator().manual_seed(0)
    step = torch.nn.functional.softplus(torch.randn(TOKENS, CHANNELS, generator=generator) - 4)
    spread = torch.exp(0.2 * torch.randn(CHANNELS, STATES, generator=generator))
    return step, torch.arange(1, STATES + 1) * spread


def rows(_: Checkpoints) -> Iterator[Row]:
    step, rate = layer()

    def sketched() -> None:
        with one_thread():  # as the spectrum analysis does
            DecaySketch().add_separable(step, rate)

    def multiplied() -> None:
        modulus = torch.exp(-(step.unsqueeze(-1) * rate)).numpy()
        np.histogram(modulus.ravel(), bins=2048, range=(0, 1))

    slow, fast = in_turns(lambda: timed(multiplied), lambda: timed(sketched))
    figure = ratio(slow, fast)
    what = f"sketch, {TOKENS} tokens x {CHANNELS} x {STATES}, against exp + numpy.histogram"
    yield Row(what, f"{figure:.0f}x faster", ">= 10x", figure >= 10)
    before = run_process(python(_PROCESS)).peak_bytes
    after = run_process(python(_PROCESS + "DecaySketch().add_separable(step, rate)")).peak_bytes
    extra = (after - before) / 1e6
    yield Row("its extra memory", f"{extra:.0f} MB", "a few MB", extra < 30)
