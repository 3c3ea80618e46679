"""Oracle of `empirical_memory`: recurrences whose answer is known in closed form.

An LRU without feedthrough that shows as many outputs as its state has dimensions: what is recovered
is the memory function of its eigenvalues, within the error of some ten thousand tokens. The stream
where the signal enters holds the token's own and no other.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from safetensors.numpy import save_file

from spectrakit.analyses.empirical_memory_options import EmpiricalMemoryOptions
from tests.oracles import eigenvalues
from tests.oracles.checking import between, near, oracle
from tests.oracles.made import lru
from tests.oracles.memory_oracle import FixedState
from tests.oracles.runs import CHECKPOINTS, run, scratch, sequences, token_source

STATES = 4
#: Sequences and tokens of the signal in weights mode; half of the sequences are fitted to.
SEQUENCES, TOKENS = 16, 4096
MIXERS = EmpiricalMemoryOptions(drive="mixers")


def delays_below(horizon, per_octave=8):
    """Every one at first, then 8 to a doubling from 16 on."""
    found, step, at = list(range(2 * per_octave)), 2, 2 * per_octave
    while at < horizon:
        found += range(at, 2 * at, step)
        at, step = 2 * at, 2 * step
    return [delay for delay in found if delay < horizon]


@cache
def driven_lru(seed):
    """An LRU that is as wide as its state has real dimensions, and its eigenvalues."""
    layer = lru(np.random.default_rng(seed), width=2 * STATES, states=STATES)
    layer["D"] *= 0
    tensors = {f"layers.0.{name}": value.astype(np.float32) for name, value in layer.items()}
    file = scratch("lru.safetensors")
    save_file(tensors, file)
    found = run(
        str(file),
        analyses=("empirical_memory",),
        mode="weights",
        empirical_memory=MIXERS,
        seed=seed,
    )
    exact = {name: value.astype(float) for name, value in tensors.items()}
    return found, eigenvalues.of_lru(exact, "layers.0.").values[0]


@oracle(
    "empirical_memory",
    "model_id revision driven_depth depth layer delay value threshold samples dimension reason",
)
def driven_recurrences(report, long):
    """`empirical_memory` of an LRU, of a stream that is driven, and of what weights do not fix."""
    for seed in range(8 if long else 1):
        found, values = driven_lru(seed)
        delays = delays_below(TOKENS // 2)
        state = FixedState(np.concatenate([values, values.conj()]))
        memory = np.array([state.beyond(d) - state.beyond(d + 1) for d in delays])
        report.compare(
            found,
            "empirical_memory",
            key="delay",
            where={"layer": 0},
            expected={
                "delay": delays,
                "model_id": found.manifest["model_id"],
                "revision": found.manifest["revision"],
                "driven_depth": None,
                "depth": None,
                "value": near(memory, absolute=0.02),
                # Four deviations of a noise of 2 N / n and more, and far below what is remembered.
                "threshold": between(1e-5, 0.01),
                "samples": SEQUENCES // 2 * (TOKENS - delays[-1]),
                "dimension": near(2.0 * STATES, rel=0.05),
                "reason": None,
            },
        )
    _stream(report)
    _unknown(report)


def _stream(report):
    rows = sequences(9, 256)[:8]
    found = run(
        str(CHECKPOINTS / "tiny-mamba"), analyses=("empirical_memory",), source=token_source(rows)
    )
    delays = delays_below(len(rows[0]) // 2)
    (threshold,) = {row["threshold"] for row in found.rows("empirical_memory") if row["depth"] == 0}
    report.compare(
        found,
        "empirical_memory",
        key="delay",
        where={"driven_depth": 0, "depth": 0},
        expected={
            "delay": delays,
            "layer": None,
            "value": between(
                [0.999 if delay == 0 else -threshold - 0.05 for delay in delays],
                [1.001 if delay == 0 else threshold for delay in delays],
            ),
            "samples": len(rows) // 2 * (len(rows[0]) - delays[-1]),
            # A line: the signal moves the stream in one direction.
            "dimension": near(1.0, rel=0.05),
        },
    )


def _unknown(report):
    found = run(
        "tiny-mamba", analyses=("empirical_memory",), mode="weights", empirical_memory=MIXERS
    )
    report.compare(
        found,
        "empirical_memory",
        key="layer delay",
        expected=dict.fromkeys(("value", "threshold", "samples", "dimension"))
        | {
            "layer": [0, 1, 2],
            "delay": 0,
            "reason": "weights alone do not fix B and C (nominal mode)",
        },
    )
