"""Oracle of `decay_kernel`: |k(t, s)| by lag, of output tokens spread evenly over a sequence.

Mamba        k(t, s) = sum_n c_t,n exp(-sum_{s < r <= t} step_r rate_n) step_s b_s,n
Mamba-2      likewise, of every head
attention    exp(score_ts - LSE_t), the weight of the attention

log_decay_mean is the sum over s < r <= t of the mean log|lambda_r| of a head. As of schema 1: means
over pairs, the first output token among them.
"""

from __future__ import annotations

import numpy as np

from tests.oracles.checking import near, oracle
from tests.oracles.forward import Attention
from tests.oracles.runs import observed_runs

OUTPUTS, CHANNELS = 32, 64


def evenly(total, count):
    """`count` of `total` places, or all of them."""
    return sorted({int(p) for p in np.linspace(0, total - 1, min(total, count)).round()})


def kernel(mixer, t, chosen):
    """|k(t, s)| and the summed mean log|lambda| of s = 0 ... t: (H, t + 1) each."""
    if isinstance(mixer, Attention):
        lse = mixer.log_normaliser
        return np.exp(mixer.scores[:, t, : t + 1] - lse[:, [t]]), lse[:, : t + 1] - lse[:, [t]]
    step = mixer.step[: t + 1, chosen]  # (S, H)
    after = step[::-1].cumsum(0)[::-1] - step
    rate = mixer.rate[chosen] if mixer.u.ndim == 2 else mixer.rate[chosen, None]
    decayed = np.exp(-after[:, :, None] * rate)
    if mixer.u.ndim == 2:
        read = mixer.query[t] * mixer.key[: t + 1]  # (S, N)
        found = (decayed * read[:, None]).sum(-1) * step
    else:
        read = (mixer.query[t, chosen] * mixer.key[: t + 1][:, chosen]).sum(-1)
        found = decayed[..., 0] * read * step
    return np.abs(found).T, -(after * rate.mean(-1)).T


def lag_bin(lag):
    """First and last lag of the bin: one each below 16, then eight to a doubling."""
    if lag < 16:
        return lag, lag
    octave = int(np.floor(8 * np.log2(lag / 16) + 1e-12))
    ends = [int(np.ceil(16 * 2 ** (k / 8) - 1e-9)) for k in (octave, octave + 1)]
    return ends[0], ends[1] - 1


@oracle(
    "decay_kernel",
    "layer head mode gauge lag_low lag_high pairs kernel_mean log_decay_mean",
)
def kernels(report, long):
    """`decay_kernel` of tokens."""
    for run in observed_runs(long):
        for layer in range(len(run.told["passes"][0].mixers)):
            mixers = [one.mixers[layer] for one in run.told["passes"]]
            _layer(report, run, layer, mixers)


def _layer(report, run, layer, mixers):
    attention = isinstance(mixers[0], Attention)
    channels = not attention and mixers[0].u.ndim == 2
    heads = len(mixers[0].scores) if attention else mixers[0].u.shape[1]
    chosen = evenly(heads, CHANNELS) if channels else list(range(heads))
    sums = {}
    for first in range(0, len(mixers), 2):
        batch = mixers[first : first + 2]
        lengths = [m.scores.shape[1] if attention else len(m.u) for m in batch]
        for t in evenly(max(lengths), OUTPUTS):
            for mixer, length in zip(batch, lengths, strict=True):
                if t < length:
                    _add(sums, *kernel(mixer, t, chosen))
    bins = sorted(sums)
    pairs = np.array([sums[b][2] for b in bins])
    means = (
        np.array([sums[b][0] for b in bins]).T / pairs,
        np.array([sums[b][1] for b in bins]).T / pairs,
    )
    for head in (None, *(() if channels else range(heads))):
        rows = slice(None) if head is None else [head]
        weight, decay = (part[rows].mean(0) for part in means)
        report.compare(
            run,
            "decay_kernel",
            key="lag_low",
            where={"layer": layer, "head": head},
            expected={
                "lag_low": [low for low, _ in bins],
                "lag_high": [high for _, high in bins],
                "mode": "data",
                "gauge": "dsf" if attention else "unnormalised",
                "pairs": pairs,
                "kernel_mean": near(weight, rel=5e-4, absolute=1e-7),
                "log_decay_mean": near(decay, rel=2e-4, absolute=1e-4),
            },
        )


def _add(sums, weights, decays):
    """Of one output token, to sums by bin of the lag: weight, decay (H,), and pairs."""
    last = weights.shape[1] - 1
    for s in range(last + 1):
        here = lag_bin(last - s)
        before = sums.get(here, (0.0, 0.0, 0))
        sums[here] = (before[0] + weights[:, s], before[1] + decays[:, s], before[2] + 1)
