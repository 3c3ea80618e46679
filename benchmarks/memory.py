"""Memory functions of a Mamba-130m shape against the table |lambda|^tau they are made of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, python, ratio, run_process, timed
from spectrakit._threads import one_thread
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.dynamics import Recurrence, SeparableDecay
from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.fixed_memory import fixed_memory

LAYERS, CHANNELS, STATES = 24, 1536, 16

#: Peak memory of a process with a layer's poles, without and with their memory functions.
_PROCESS = (
    "import torch\n"
    "from benchmarks.memory import delays, layer\n"
    "from spectrakit.dynamics.fixed_memory import fixed_memory\n"
    "torch.set_num_threads(1)\n"
    "one, taken = layer(0), delays()\n"
)


def layer(index: int) -> Recurrence:
    """Steps and rates as Mamba's initialisation has them, the rates as training spreads them."""
    generator = torch.Generator().manual_seed(index)
    uniform = torch.rand(CHANNELS, generator=generator, dtype=torch.float64)
    step = torch.exp(np.log(1e-3) + uniform * np.log(100))
    spread = torch.exp(0.1 * torch.randn(CHANNELS, STATES, generator=generator))
    rate = torch.arange(1, STATES + 1) * spread.double()
    return Recurrence(
        SeparableDecay(step, rate),
        mode="nominal",
        gauge="unnormalised",
        head_axis="channel",
        width=1,
    )


def delays() -> Delays:
    """The default ones."""
    options = MemoryOptions()
    return Delays(options.horizon, options.per_octave)


def rows(_: Checkpoints) -> Iterator[Row]:
    layers = [layer(index) for index in range(LAYERS)]
    moduli = [one.eigenvalues().modulus.numpy() for one in layers]
    taken = delays()
    powers = taken.kept.numpy()
    precisions = MemoryOptions().precisions

    def table() -> None:
        for modulus in moduli:
            np.power(modulus[..., None], powers)

    def memory() -> None:
        with one_thread():  # as the memory analysis does
            for one in layers:
                fixed_memory(one, taken)

    def rounded() -> None:
        with one_thread():
            for one in layers:
                fixed_memory(one, taken, precisions=precisions)

    channels = LAYERS * CHANNELS
    tables, exact = in_turns(lambda: timed(table), lambda: timed(memory), times=3)
    figure = ratio(exact, tables)
    what = f"memory functions of {channels} channels x {STATES} at {len(powers)} delays"
    yield Row(f"{what}, against NumPy's |lambda|^tau", f"{figure:.2f} tables", "<= 5", figure <= 5)
    tables, precise = in_turns(lambda: timed(table), lambda: timed(rounded), times=3)
    figure = ratio(precise, tables)
    yield Row("with those of three precisions", f"{figure:.2f} tables", "<= 5", figure <= 5)
    before = run_process(python(_PROCESS)).peak_bytes
    after = run_process(python(_PROCESS + "fixed_memory(one, taken)")).peak_bytes
    extra = (after - before) / 1e6
    yield Row("its extra memory, by layer", f"{extra:.0f} MB", "<= 200 MB", extra <= 200)
