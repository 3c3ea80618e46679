"""Checkpoints that are made here: layers of the S4 line with random weights."""

from __future__ import annotations

from functools import cache

import numpy as np
from safetensors.numpy import save_file

import spectrakit as sk
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.spectrum.options import SpectrumOptions
from tests.oracles import eigenvalues
from tests.oracles.runs import RunFolder, scratch

VERSION_4 = {
    "real_transform": "exp",
    "imag_transform": "none",
    "dt_transform": "exp",
    "dt_fast": False,
    "bandlimit": None,
}


def minimal_s4d(draw, channels=3, states=4):
    """Parameters of one layer."""
    return {
        "D": draw.normal(size=channels),
        "kernel.C": draw.normal(size=(channels, states, 2)),
        "kernel.log_dt": draw.uniform(-5, -2, channels),
        "kernel.log_A_real": draw.uniform(-1, 0, (channels, states)),
        "kernel.A_imag": draw.uniform(0, 9, (channels, states)),
    }


def s4(draw, channels=4, states=3, systems=2):
    """Parameters of one layer, version 4."""
    return {
        "D": draw.normal(size=(1, channels)),
        "kernel.inv_dt": draw.uniform(-5, -2, (channels, 1)),
        "kernel.A_real": draw.uniform(-1, 0, (systems, states)),
        "kernel.A_imag": draw.uniform(0, 9, (systems, states)),
        "kernel.B": draw.normal(size=(1, systems, states, 2)),
        "kernel.C": draw.normal(size=(1, channels, states, 2)),
        "kernel.P": draw.normal(size=(1, systems, states, 2)),
        "kernel.l_kernel": np.array(16, np.int64),
    }


def lru(draw, width=3, states=4):
    """Parameters of one layer."""
    return {
        "nu_log": draw.uniform(-4, -1, states),
        "theta_log": draw.uniform(-2, 1, states),
        "gamma_log": draw.normal(size=states),
        **{f"B_{part}": draw.normal(size=(states, width)) for part in ("re", "im")},
        **{f"C_{part}": draw.normal(size=(width, states)) for part in ("re", "im")},
        "D": draw.normal(size=width),
    }


#: What makes a layer, what its eigenvalues are, and the options that the weights do not show.
MAKERS = {
    "minimal-s4d": (minimal_s4d, eigenvalues.of_minimal_s4d, {}),
    "s4": (s4, eigenvalues.of_s4, VERSION_4),
    "lru": (lru, eigenvalues.of_lru, {}),
}

#: Options of the analyses that have some here.
TOLD = {"spectrum": SpectrumOptions("both"), "memory": MemoryOptions(curves=True)}


@cache
def made_run(family, seed=0, sizes=(), analyses=("spectrum", "lyapunov", "memory")):
    """Two random layers of a family in weights mode; `told` has tensors and eigenvalues.

    sizes: pairs of a name and a number, for the layers' maker.
    """
    make, of, config = MAKERS[family]
    draw = np.random.default_rng(seed)
    layers = [make(draw, **dict(sizes)) for _ in range(2)]
    stored = {
        f"layers.{index}.{name}": value.astype(np.float32) if value.dtype == float else value
        for index, layer in enumerate(layers)
        for name, value in layer.items()
    }
    file, out = scratch(f"{family}.safetensors"), scratch(family)
    save_file(stored, file)
    exact = {
        name: value.astype(np.float64) if value.dtype == np.float32 else value
        for name, value in stored.items()
    }
    with sk.open_checkpoint(str(file), config=config) as opened:
        sk.analyze(
            opened,
            analyses=analyses,
            options=[TOLD[name] for name in analyses if name in TOLD],
            out=out,
        )
    found = [of(exact, f"layers.{index}.") for index in range(2)]
    return RunFolder(out, {"file": file, "tensors": exact, "layers": found, "kind": family})
