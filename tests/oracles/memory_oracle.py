"""Oracle of memory functions.

Of a state whose A and B do not vary (Jaeger 2001; Dambre et al. 2012), with 60 digits or more:

    C   = sum_s A^s B B^H A^s^H,   C_ij = (B B^H)_ij / (1 - l_i l_j^*)
    MF(tau) = tr[(A^tau B)^H (C + S)^-1 A^tau B]
    sum_{s >= tau} MF(s) = tr[(C + S)^-1 A^tau C A^tau^H]

S = 0 for an exact state; of one that is rounded at every token S_ii = e^2 C_ii / (1 - |l_i|^2),
e^2 = u^2 / (8 ln 2). Of one that was observed at a token, X has the columns Phi(t, s) B_s,
C = X X^H and S_ii = e^2 sum_s (t - s + 1) |X_is|^2; in float64, by orthogonal decompositions of X.
"""

from __future__ import annotations

import mpmath
import numpy as np
from scipy.linalg import qr

from tests.oracles import eigenvalues
from tests.oracles.checking import between, near, oracle
from tests.oracles.forward import Attention
from tests.oracles.made import made_run
from tests.oracles.runs import model, observed_runs, weights_run

HORIZON, PER_OCTAVE = 1 << 16, 16
ROUNDOFF = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
SHARES = {"delay_50": 0.5, "delay_90": 0.9}
LEVELS = {"last_delay_0p5": 0.5, "last_delay_0p1": 0.1, "last_delay_0p01": 0.01}

SUMMARY = (
    "layer head channel mode past precision systems inputs rank capacity horizon capacity_within "
    f"mean_delay {' '.join(SHARES)} {' '.join(LEVELS)}"
)
FUNCTION = "layer head mode past precision delay memory capacity_below"


def delays_below(horizon):
    """Every one at first, then 16 to a doubling from 32 on."""
    found, step, at = list(range(2 * PER_OCTAVE)), 2, 2 * PER_OCTAVE
    while at < horizon:
        found += range(at, 2 * at, step)
        at, step = 2 * at, 2 * step
    return [delay for delay in found if delay < horizon]


def noise(precision):
    """e^2; 0 of an exact state."""
    return ROUNDOFF[precision] ** 2 / (8 * np.log(2)) if precision in ROUNDOFF else 0.0


class FixedState:
    """One system with eigenvalues (N,) and inputs B (N, Q)."""

    def __init__(self, values, inputs=None, precision="exact", digits=60):
        self.rank, self.digits = len(values), digits
        with mpmath.workdps(digits):
            poles = np.array([mpmath.mpc(complex(v)) for v in values])
            b = np.ones((self.rank, 1)) if inputs is None else inputs
            b = np.vectorize(lambda z: mpmath.mpc(complex(z)), otypes=[object])(b)
            self.product = np.outer(poles, [mpmath.conj(p) for p in poles])
            written = b @ np.vectorize(mpmath.conj, otypes=[object])(b).T
            covariance = written / (1 - self.product)
            read = mpmath.matrix(covariance.tolist())
            for i in range(self.rank):
                lost = covariance[i, i] / (1 - abs(poles[i]) ** 2)
                read[i, i] += mpmath.mpf(noise(precision)) * lost
            inverse = np.array((read**-1).tolist()).reshape(self.rank, self.rank)
            # A Hermitian sum: its diagonal, and twice what lies above it.
            above = np.triu_indices(self.rank)
            self.weight = (inverse.T * covariance * (2 - np.eye(self.rank, dtype=int)))[above]
            self.product = self.product[above]
            self.slowest = max(abs(p) for p in self.product)
            self._wide = _wide(self.weight), _wide(self.product)
        # What cancels in the sum may be beyond the widest type of NumPy: then digits it is.
        lost = np.abs(self._wide[0]).max() * np.finfo(np.longdouble).eps
        self._cancels = lost > 1e-12

    def beyond(self, delay):
        """Capacity of all delays from this one on."""
        if not self._cancels:
            weight, product = self._wide
            return float((weight * product**delay).sum().real)
        with mpmath.workdps(self.digits):
            if self.slowest**delay < mpmath.mpf(10) ** -self.digits:
                return 0.0
            found = (self.weight * self.product**delay).sum()
            return float(mpmath.re(found))

    def mean_delay(self):
        """Weighted by MF."""
        with mpmath.workdps(self.digits):
            total = (self.weight * self.product / (1 - self.product)).sum()
            return float(mpmath.re(total) / self.rank)


def _wide(values):
    """Numbers of mpmath in the widest type of NumPy."""
    high = np.array([complex(v) for v in values])
    low = np.array([complex(v - mpmath.mpc(h)) for v, h in zip(values, high.tolist(), strict=True)])
    return high.astype(np.clongdouble) + low


def fixed_cases(long):
    """Runs, layers and their systems: values (N,), B, and the axis on which they lie."""
    for name in ("tiny-mamba2", "tiny-mamba"):
        found = eigenvalues.of_bundled(model(name), 0)
        if name == "tiny-mamba2":
            yield weights_run(name), 0, [(row[:1], None) for row in found.values], found
        elif long:
            yield weights_run(name), 0, [(row, None) for row in found.values], found
    for family in ("minimal-s4d", "s4", "lru"):
        for seed in range(3 if long else 1):
            run = made_run(family, seed)
            found = run.told["layers"][1]
            if family == "lru":
                systems = [_lru_with_conjugates(run.told["tensors"], "layers.1.", found)]
            else:
                systems = [(row, None) for row in found.values]
            yield run, 1, systems, found


def _lru_with_conjugates(tensors, at, found):
    """A real read-out sees every state and its conjugate."""
    b = tensors[f"{at}B_re"] + 1j * tensors[f"{at}B_im"]
    b = np.exp(tensors[f"{at}gamma_log"])[:, None] * b
    values = found.values[0]
    return np.concatenate([values, values.conj()]), np.concatenate([b, b.conj()])


@oracle("memory_summary", SUMMARY)
@oracle("memory_function", f"{FUNCTION} channel")
def fixed_memories(report, long):
    """`memory_function` and `memory_summary` of weights, exact and rounded."""
    for run, layer, systems, found in fixed_cases(long):
        # What S4 computes is not its eigenbasis, in which alone rounding is known.
        for precision in ("exact", *(ROUNDOFF if found.exact else ())):
            states = [FixedState(*system, precision) for system in systems]
            _fixed(report, run, layer, precision, states, found)


def _fixed(report, run, layer, precision, states, found):
    delays = delays_below(HORIZON)
    edges = sorted({*delays, *(delay + 1 for delay in delays), HORIZON})
    beyond = np.array([[one.beyond(delay) for delay in edges] for one in states])
    at = {delay: index for index, delay in enumerate(edges)}
    # The runs of channels that are made here have the curve of each.
    everyone = range(len(states)) if found.axis == "head" or "kind" in run.told else ()
    slack = 1e-9 if found.exact else 1e-7
    for place in (None, *everyone):
        here = beyond.mean(0) if place is None else beyond[place]
        memory = np.array([here[at[d]] - here[at[d + 1]] for d in delays])
        below = here[0] - np.array([here[at[d]] for d in delays])
        report.compare(
            run,
            "memory_function",
            key="delay",
            where={"layer": layer, "precision": precision} | _position(found, place),
            expected={
                "delay": delays,
                "mode": found.mode,
                "past": "infinite",
                "memory": near(memory, absolute=slack),
                "capacity_below": near(below, absolute=_shared_out(delays, states[0].rank, slack)),
                "samples": None,
            },
        )
    for place, of in {None: states, **{i: [one] for i, one in enumerate(states)}}.items():
        rows = slice(None) if place is None else [place]
        _fixed_summary(report, run, layer, precision, place, of, beyond[rows], edges, found)


def _position(found, place):
    return {"head": None, "channel": None} | {found.axis: place}


def _shared_out(delays, rank, slack):
    """Between powers of two, capacity is shared out as MF is at the delays that were taken.

    Of an MF that swings, that is off by up to a hundredth of the rank.
    """
    exact = [delay < 2 * PER_OCTAVE or delay & (delay - 1) == 0 for delay in delays]
    return np.where(exact, slack, slack + 0.01 * rank)


def _fixed_summary(report, run, layer, precision, place, states, beyond, edges, found):
    delays, here = delays_below(HORIZON), beyond.mean(0)
    at = {delay: index for index, delay in enumerate(edges)}
    memory = np.array([here[at[d]] - here[at[d + 1]] for d in delays])
    rank = float(np.mean([one.rank for one in states]))
    slack = 1e-9 if found.exact else 1e-7
    report.compare(
        run,
        "memory_summary",
        key="",
        where={"layer": layer, "precision": precision} | _position(found, place),
        expected={
            "mode": found.mode,
            "past": "infinite",
            "systems": len(states),
            "inputs": 3 if run.told.get("kind") == "lru" else 1,
            "rank": rank,
            "capacity": near(here[0], absolute=slack * rank),
            "horizon": HORIZON,
            "capacity_within": near(here[0] - here[-1], absolute=slack * rank),
            "mean_delay": None
            if precision != "exact"
            else near(np.mean([one.mean_delay() for one in states]), rel=10 * slack),
            "samples": None,
            "reason": None,
        }
        | {name: _share_delay(states, share * rank, here) for name, share in SHARES.items()}
        | {name: _last(delays, memory, level) for name, level in LEVELS.items()},
    )


def _share_delay(states, wanted, here):
    """The first delay up to which there is so much: to the spacing of the delays beyond 32."""
    if here[0] - here[-1] < wanted * (1 - 1e-12):
        return None
    low, high = -1, HORIZON - 1
    while high - low > 1:
        middle = (low + high) // 2
        within = here[0] - np.mean([one.beyond(middle + 1) for one in states])
        low, high = (low, middle) if within >= wanted * (1 - 1e-12) else (middle, high)
    spacing = 0 if high < 2 * PER_OCTAVE else 2 ** (high.bit_length() - 5)
    return between(high - spacing, high + spacing)


def _last(delays, memory, level):
    above = np.flatnonzero(memory >= level)
    return delays[above[-1]] if len(above) else None


# ---- observed on tokens -------------------------------------------------------------------------


def observed_columns(mixer, head):
    """log |X|, sign X of Phi(t, s) B_s at the last token: (T, N) each."""
    if mixer.u.ndim == 2:
        step, rate, key = mixer.step[:, head], mixer.rate[head], mixer.key
    else:
        step, rate, key = mixer.step[:, head], mixer.rate[[head]], mixer.key[:, head]
    after = step[::-1].cumsum()[::-1] - step
    return np.log(np.abs(step[:, None] * key)) - after[:, None] * rate, np.sign(key)


def observed_function(mixer, head, precision):
    """MF by delay at the last token of a sequence: (T,)."""
    log, sign = observed_columns(mixer, head)
    if precision == "exact":
        return leverage(log, sign)[::-1]
    age = np.arange(len(log), 0, -1)[:, None]
    # Entries over the noise of their state, which scales with it.
    largest = log.max(0)
    x = sign * np.exp(log - largest)
    x /= np.sqrt(noise(precision) * (age * x**2).sum(0))
    stacked = np.concatenate([x, np.eye(x.shape[1])])
    return (qr(stacked, mode="economic")[0][: len(x)] ** 2).sum(1)[::-1]


def leverage(log, sign):
    """Squared rows of an orthonormal basis of the columns of X^T, whose rows differ in size.

    Rows from large to small and columns by pivots: Householder's method is then right row by row.
    """
    x = sign * np.exp(log - log.max(0))
    order = np.argsort(-np.abs(x).max(1))
    basis = qr(x[order], mode="economic", pivoting=True)[0]
    found = np.empty(len(x))
    found[order] = (basis**2).sum(1)
    return found


@oracle("memory_summary", f"{SUMMARY} samples")
@oracle("memory_function", f"{FUNCTION} samples")
def observed_memories(report, long):
    """The same of tokens, at the last of every sequence, of the first and the last head."""
    for run in observed_runs(long):
        for layer, mixer in enumerate(run.told["passes"][0].mixers):
            if isinstance(mixer, Attention):
                continue
            mixers = [one.mixers[layer] for one in run.told["passes"]]
            axis = "channel" if mixer.u.ndim == 2 else "head"
            heads = [0, mixer.u.shape[1] - 1]
            for precision in ("exact", *ROUNDOFF):
                by_head = [[observed_function(m, h, precision) for m in mixers] for h in heads]
                _observed(report, run, layer, axis, heads, precision, by_head)


def _observed(report, run, layer, axis, heads, precision, by_head):
    lengths = [len(one) for one in by_head[0]]
    delays = delays_below(max(lengths))
    ends = [*delays[1:], max(lengths)]
    function, below = np.zeros((2, len(heads), len(delays)))
    for h, sequences in enumerate(by_head):
        for d, (delay, end) in enumerate(zip(delays, ends, strict=True)):
            function[h, d] = np.concatenate([one[delay:end] for one in sequences]).mean()
            below[h, d] = np.mean([one[:delay].sum() for one in sequences])
    rank = np.array([np.mean([one.sum() for one in sequences]) for sequences in by_head])
    samples = [sum(length > delay for length in lengths) for delay in delays]
    where = {"layer": layer, "precision": precision}
    common = {"mode": "data", "past": "sequence"}
    for place in (None, *(range(len(heads)) if axis == "head" else ())):
        chosen = slice(None) if place is None else [place]
        here = {"head": None if place is None else heads[place], "channel": None}
        report.compare(
            run,
            "memory_function",
            key="delay",
            where=where | here,
            expected=common
            | {
                "delay": delays,
                "memory": near(function[chosen].mean(0), absolute=OBSERVED),
                "capacity_below": near(below[chosen].mean(0), absolute=3 * OBSERVED),
                "samples": samples,
            },
        )
    for place in (None, *range(len(heads))):
        _observed_summary(
            report, run, where, common, axis, heads, place, (by_head, rank, function, delays)
        )


#: What float32 moves of what a read-out recovers.
OBSERVED = 2e-3


def _observed_summary(report, run, where, common, axis, heads, place, found):
    by_head, rank, function, delays = found
    chosen = list(range(len(heads))) if place is None else [place]
    exact = where["precision"] == "exact"
    moments = [
        np.sum([one @ np.arange(len(one)) for one in by_head[h]]) / len(by_head[h]) for h in chosen
    ]
    curves = [np.mean([_padded(one, by_head[h]) for one in by_head[h]], axis=0) for h in chosen]
    mean = np.mean(curves, axis=0)
    position = {"head": None, "channel": None}
    if place is not None:
        position[axis] = heads[place]
    memory = function[chosen].mean(0)
    report.compare(
        run,
        "memory_summary",
        key="",
        where=where | position,
        expected=common
        | {
            "systems": len(chosen),
            "inputs": 1,
            "capacity": near(rank[chosen].mean(), absolute=3 * OBSERVED),
            "horizon": len(mean),
            "capacity_within": near(rank[chosen].mean(), absolute=3 * OBSERVED),
            "mean_delay": near(sum(moments) / rank[chosen].sum(), rel=1e-3) if exact else None,
            "samples": len(by_head[0]),
            "reason": None,
        }
        | ({"rank": near(rank[chosen].mean(), absolute=3 * OBSERVED)} if exact else {})
        | ({n: _reached(mean, share) for n, share in SHARES.items()} if exact else {})
        | {name: _last_about(delays, memory, level) for name, level in LEVELS.items()},
    )


def _padded(one, others):
    return np.pad(one, (0, max(map(len, others)) - len(one)))


def _reached(mean, share):
    """The first delay up to which a share of the whole lies, give or take a little."""
    whole = mean.cumsum()
    ends = [
        np.searchsorted(whole, share * whole[-1] + off) for off in (-3 * OBSERVED, 3 * OBSERVED)
    ]
    spacing = 0 if ends[1] < 2 * PER_OCTAVE else 2
    return between(ends[0] - spacing, ends[1] + spacing)


def _last_about(delays, memory, level):
    ends = [_last(delays, memory, level + off) for off in (OBSERVED, -OBSERVED)]
    low, high = (-1 if end is None else end for end in ends)
    if high < 0:
        return None
    return between(max(low, 0), high)


@oracle(
    "memory_summary", "layer head mode past precision systems key_kernel_rank keys samples reason"
)
def keys_of_attention(report, long):
    """How many keys are different: pivoted Cholesky of exp(-|k_i - k_j|^2 / (2 sqrt K))."""
    for run in observed_runs(long):
        for layer, mixer in enumerate(run.told["passes"][0].mixers):
            if not isinstance(mixer, Attention):
                continue
            heads = [0, len(mixer.key) - 1]
            mixers = [one.mixers[layer] for one in run.told["passes"]]
            ranks = np.array([[_key_rank(m.key[h]) for m in mixers] for h in heads]).mean(1)
            off = 0.5  # of a mean over sequences, one key of some is on the edge
            report.compare(
                run,
                "memory_summary",
                key="head",
                where={"layer": layer},
                expected={
                    "head": [None, *heads],
                    "channel": None,
                    "mode": "data",
                    "past": "sequence",
                    "precision": "exact",
                    "systems": [len(heads), 1, 1],
                    "inputs": None,
                    "rank": None,
                    "key_kernel_rank": near([ranks.mean(), *ranks], absolute=off),
                    "keys": float(np.mean([m.key.shape[1] for m in mixers])),
                    "samples": len(mixers),
                    "reason": "softmax attention keeps every key: no state of a fixed size forgets",
                },
            )


def _key_rank(keys, resolution=1e-3):
    """Keys (T, K) further than `resolution` from the span of those counted before."""
    apart = ((keys[:, None] - keys) ** 2).sum(-1)
    kernel = np.exp(-apart / (2 * np.sqrt(keys.shape[1])))
    rest, count = np.diag(kernel).copy(), 0
    factor = np.zeros((len(keys), 0))
    while rest.max() > resolution**2:
        pivot = rest.argmax()
        column = (kernel[:, pivot] - factor @ factor[pivot]) / np.sqrt(rest[pivot])
        factor = np.column_stack([factor, column])
        rest, count = rest - column**2, count + 1
    return count
