"""Oracle of `empirical_memory`: recurrences whose answer is known in closed form.

An LRU without feedthrough that shows as many outputs as its state has dimensions: what is recovered
is the memory function of its eigenvalues, within the error of some ten thousand tokens. The stream
where the signal enters holds the token's own and no other: all tokens but the first are one of two
vectors, so that nothing else can be told from it.

What a ridge costs is known where nearly all is recovered of as many features as there are states:
none is shrunk. Where nothing is, any ridge is as good as another.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from safetensors.numpy import save_file

from spectrakit.analyses.empirical_memory.options import EmpiricalMemoryOptions
from tests.oracles import eigenvalues
from tests.oracles.checking import between, near, oracle
from tests.oracles.made import lru
from tests.oracles.memory_oracle import FixedState
from tests.oracles.runs import CHECKPOINTS, run, scratch, sequences, token_source

STATES = 4
#: Sequences and tokens of the signal in weights mode; each is scored once, by read-outs of others.
SEQUENCES, TOKENS = 16, 4096
#: Of those that are tried, relative to a feature's variance; the largest is infinite.
LEAST_RIDGE = 1e-10
UNKNOWN = ("value", "threshold", "remembered", "dimension", "ridge")
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
        options=[MIXERS],
        seed=seed,
    )
    exact = {name: value.astype(float) for name, value in tensors.items()}
    return found, eigenvalues.of_lru(exact, "layers.0.").values[0]


@oracle(
    "empirical_memory",
    "model_id revision driven_depth depth layer delay value threshold remembered samples "
    "dimension ridge reason",
)
def driven_recurrences(report, long):
    """`empirical_memory` of an LRU, of a stream that is driven, and of what weights do not fix."""
    for seed in range(8 if long else 1):
        found, values = driven_lru(seed)
        delays = delays_below(TOKENS // 2)
        state = FixedState(np.concatenate([values, values.conj()]))
        memory = np.array([state.beyond(d) - state.beyond(d + 1) for d in delays])
        clear = memory > 0.1
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
                "remembered": remembered(found, {"layer": 0}),
                "samples": SEQUENCES * (TOKENS - delays[-1]),
                "dimension": between(
                    np.where(clear, 2 * STATES - 0.1, 0.0), np.full(len(delays), 2 * STATES + 0.1)
                ),
                "ridge": between(np.full(len(delays), LEAST_RIDGE), np.where(clear, 1e-3, np.inf)),
                "reason": None,
            },
        )
        told = np.array(remembered(found, {"layer": 0}))
        assert told[memory > 0.01].all(), "what is remembered clearly is not said to be"
        assert not told[memory < 1e-6].any(), "what is forgotten is said to be remembered"
    _stream(report)
    _unknown(report)
    _too_few(report)


def remembered(found, where):
    """In the unbroken run of values above the threshold around the largest: by delay."""
    rows = [r for r in found.rows("empirical_memory") if where.items() <= r.items()]
    rows.sort(key=lambda row: row["delay"])
    values = [row["value"] for row in rows]
    peak = values.index(max(values))
    told = [False] * len(rows)
    for places in (range(peak, len(rows)), range(peak, -1, -1)):
        for at in places:
            if values[at] <= rows[at]["threshold"]:
                break
            told[at] = True
    return told


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
            "remembered": [delay == 0 for delay in delays],
            "samples": len(rows) * (len(rows[0]) - delays[-1]),
            # A line: the signal moves the stream in one direction, and what predicts nothing is
            # shrunk.
            "dimension": between([0.95 if delay == 0 else 0.0 for delay in delays], 1.05),
            "ridge": between(
                [LEAST_RIDGE if delay == 0 else 1.0 for delay in delays],
                [1e-3 if delay == 0 else np.inf for delay in delays],
            ),
        },
    )


def _unknown(report):
    found = run("tiny-mamba", analyses=("empirical_memory",), mode="weights", options=[MIXERS])
    report.compare(
        found,
        "empirical_memory",
        key="layer delay",
        expected=dict.fromkeys(UNKNOWN)
        | {"layer": [0, 1, 2], "delay": 0, "samples": None, "reason": "unknown-b-or-c"},
    )


def _too_few(report):
    """Of two sequences none can be chosen on, fitted to and scored."""
    rows = sequences(3, 32)[:2]
    found = run(
        str(CHECKPOINTS / "tiny-mamba"), analyses=("empirical_memory",), source=token_source(rows)
    )
    delays = delays_below(len(rows[0]) // 2)
    report.compare(
        found,
        "empirical_memory",
        key="depth delay",
        expected=dict.fromkeys(UNKNOWN)
        | {
            "depth": np.repeat(range(4), len(delays)),
            "delay": delays * 4,
            "reason": "too-few-tokens",
        },
    )
