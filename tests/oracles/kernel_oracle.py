"""Oracle of `decay_kernel` and `decay_kernel_summary`: every k(t, s), by lag t - s.

Mamba        k(t, s) = sum_n c_t,n exp(-sum_{s < r <= t} step_r rate_n) step_s b_s,n
Mamba-2      likewise, of every head
attention    exp(score_ts - LSE_t), the weight of the attention; LSE over learned sinks too
S4D          k(lag) = 2 Re sum_n c_n (exp(step a_n) - 1) / a_n exp(step a_n)^lag, at any t

Sequences are of 33 tokens at most: all outputs but the first are looked at, each for itself.

    mass            sum of |k| over the pairs of a lag, over the number of outputs
    kernel_mean     sum of |k| over the pairs of a lag, over their number
    log_decay_mean  the mean over pairs of sum_{s < r <= t} of the mean log|lambda_r| of a head; of
                    attention log(1 - p_rr)
"""

from __future__ import annotations

import numpy as np

from tests.oracles.checking import near, oracle
from tests.oracles.forward import Attention
from tests.oracles.made import made_run
from tests.oracles.made_attention import sink_run
from tests.oracles.runs import BUNDLED, observed_run

LENGTH, CHANNELS = 33, 64
#: What float32 moves of a weight.
REL = 5e-4


def evenly(total, count):
    """`count` of `total` places, or all of them."""
    return sorted({int(p) for p in np.linspace(0, total - 1, min(total, count)).round()})


def kernel(mixer, t, chosen):
    """|k(t, s)| and the summed mean log|lambda| of s = 0 ... t: (H, t + 1) each."""
    if isinstance(mixer, Attention):
        logs = mixer.log_retained.cumsum(1)
        logs = np.concatenate([np.zeros((len(logs), 1)), logs], axis=1)
        return mixer.weights[:, t, : t + 1], logs[:, [t]] - logs[:, : t + 1]
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


class Pairs:
    """All pairs of a layer: lag and input (n,), kernel and log decay (H, n), outputs."""

    def __init__(self, mixers, chosen):
        parts, self._mixers = [], mixers
        self.outputs = 0
        for mixer in mixers:
            length = mixer.scores.shape[1] if isinstance(mixer, Attention) else len(mixer.u)
            self.outputs += length - 1
            parts += [
                (t - np.arange(t + 1), np.arange(t + 1), *kernel(mixer, t, chosen))
                for t in range(1, length)
            ]
        self.lag, self.input, self.kernel, self.decay = (
            np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)
        )

    def sink_share(self, heads):
        """The mean of outputs and heads, for attention."""
        if not isinstance(self._mixers[0], Attention):
            return None
        shares = np.concatenate([m.sink_share[:, 1:] for m in self._mixers], axis=1)
        return near(shares[heads].mean(), rel=REL)

    def of_lags(self, values, kept):
        """Values (n,) summed over the pairs of each lag that are kept."""
        return np.bincount(self.lag[kept], values[kept], self.lag.max() + 1)


def kernel_runs(long):
    """The bundled models, and learned sinks, on sequences that are looked at whole."""
    for name in BUNDLED:
        for start in (0, 5000, 20000)[: 3 if long else 1]:
            yield observed_run(name, 5, LENGTH, start, analyses=("kernel",))
    for seed in range(4 if long else 1):
        yield sink_run(seed)


@oracle(
    "decay_kernel",
    "layer head mode gauge token_set lag_low lag_high pairs mass kernel_mean log_decay_mean",
)
@oracle(
    "decay_kernel_summary",
    "layer head mode gauge token_set outputs mass mass_lag_0 mass_lag_1 lag_50 lag_90 "
    "first_token_share learned_sink_share",
)
def kernels(report, long):
    """`decay_kernel` and `decay_kernel_summary` of tokens."""
    for run in kernel_runs(long):
        for layer in range(len(run.told["passes"][0].mixers)):
            _layer(report, run, layer, [one.mixers[layer] for one in run.told["passes"]])


def _layer(report, run, layer, mixers):
    attention = isinstance(mixers[0], Attention)
    channels = not attention and mixers[0].u.ndim == 2
    heads = len(mixers[0].scores) if attention else mixers[0].u.shape[1]
    pairs = Pairs(mixers, evenly(heads, CHANNELS) if channels else list(range(heads)))
    for head in (None, *(() if channels else range(heads))):
        rows = slice(None) if head is None else [head]
        told = {"mode": "data", "gauge": "retained" if attention else "unnormalised"}
        weights, decays = (part[rows].mean(0) for part in (pairs.kernel, pairs.decay))
        for token_set in ("all", "without_first"):
            where = {"layer": layer, "head": head, "token_set": token_set}
            kept = pairs.input >= (1 if token_set == "without_first" else 0)
            masses = pairs.of_lags(weights, kept) / pairs.outputs
            _rows(report, run, where, told, pairs, kept, masses, decays)
            summary = told | {
                "outputs": pairs.outputs,
                "first_token_share": near(weights[pairs.input == 0].sum() / weights.sum(), rel=REL),
                "learned_sink_share": pairs.sink_share(rows),
            }
            _summary(report, run, where, summary, masses)


def _rows(report, run, where, told, pairs, kept, masses, decays):
    counts = pairs.of_lags(np.ones(len(decays)), kept)
    decay = pairs.of_lags(decays, kept)
    bins = sorted({lag_bin(lag) for lag in np.flatnonzero(counts).tolist()})
    count, mass, decay = (
        np.array([part[low : high + 1].sum() for low, high in bins])
        for part in (counts, masses, decay)
    )
    report.compare(
        run,
        "decay_kernel",
        key="lag_low",
        where=where,
        expected=told
        | {
            "lag_low": [low for low, _ in bins],
            "lag_high": [high for _, high in bins],
            "pairs": count.astype(int),
            "mass": near(mass, rel=REL, absolute=1e-9),
            "kernel_mean": near(mass * pairs.outputs / count, rel=REL, absolute=1e-8),
            "log_decay_mean": near(decay / count, rel=2e-4, absolute=1e-4),
        },
    )


def _summary(report, run, where, told, masses):
    """Of masses by lag (L,)."""
    share = masses.cumsum() / masses.sum()
    report.compare(
        run,
        "decay_kernel_summary",
        key="",
        where=where,
        expected=told
        | {
            "mass": near(masses.sum(), rel=REL),
            "mass_lag_0": near(masses[0], rel=REL),
            "mass_lag_1": near(masses[1], rel=REL),
            "lag_50": int(np.flatnonzero(share >= 0.5)[0]),
            "lag_90": int(np.flatnonzero(share >= 0.9)[0]),
        },
    )


#: Tokens up to the one output that is looked at in weights mode.
PAST = 1024


@oracle(
    "decay_kernel",
    "layer mode gauge token_set lag_low pairs mass kernel_mean log_decay_mean",
)
@oracle("decay_kernel_summary", "layer mode token_set mass mass_lag_0 mass_lag_1 lag_50 lag_90")
def fixed_kernels(report, long):
    """`decay_kernel` of S4D, whose kernel is that of its convolution."""
    for seed in range(4 if long else 1):
        run = made_run("minimal-s4d", seed, analyses=("kernel",))
        for layer in range(2):
            _fixed(report, run, layer)


def _fixed(report, run, layer):
    tensors, at = run.told["tensors"], f"layers.{layer}.kernel."
    a = -np.exp(tensors[f"{at}log_A_real"]) + 1j * tensors[f"{at}A_imag"]  # (H, N)
    c = tensors[f"{at}C"] @ np.array([1, 1j])
    z = np.exp(tensors[f"{at}log_dt"])[:, None] * a
    powers = np.exp(z[..., None] * np.arange(PAST))
    found = np.abs(2 * ((c * np.expm1(z) / a)[..., None] * powers).sum(1).real)  # (H, lags)
    mass = found.mean(0)
    told = {"mode": "static"}
    where = {"layer": layer, "head": None, "token_set": "all"}
    bins = sorted({lag_bin(lag) for lag in range(PAST)})
    counts = np.array([min(high, PAST - 1) - low + 1 for low, high in bins])
    sums = np.array([mass[low : high + 1].sum() for low, high in bins])
    lags = np.array(
        [np.arange(low, low + n).mean() for (low, _), n in zip(bins, counts, strict=True)]
    )
    report.compare(
        run,
        "decay_kernel",
        key="lag_low",
        where=where,
        expected=told
        | {
            "gauge": "unnormalised",
            "lag_low": [low for low, _ in bins],
            "pairs": counts,
            "mass": near(sums, rel=1e-9),
            "kernel_mean": near(sums / counts, rel=1e-9),
            "log_decay_mean": near(lags * z.real.mean(), rel=1e-9),
        },
    )
    unknown = dict.fromkeys(("outputs", "first_token_share", "learned_sink_share"))
    _summary(report, run, where, told | unknown, mass)
