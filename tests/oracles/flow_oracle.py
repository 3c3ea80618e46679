"""Oracle of how hidden states travel: `propagation` and `perturbation`.

    u_l = h_l - h_{l-1};  formulas as docs/tables.md has them, in float64, token by token

A mean over sequences weighs each by its tokens; its standard error is that of S independent ones,
sqrt(sum_b w_b (x_b - m)^2 / (sum_b w_b (S - 1))).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from tests.oracles.checking import near, oracle
from tests.oracles.forward import run_model
from tests.oracles.massive_oracle import judged, planted_run
from tests.oracles.runs import observed_runs

#: What float32 moves.
REL = 2e-4
#: And of a relative gain.
ROUNDED = 4e-4
RANK_TOKENS = 20
#: The sets of tokens that there are bins of positions of.
BINNED = ("all", "without_massive")
TOKEN_METRICS = {
    "stream": (
        "norm", "cosine_next", "path_length", "path_energy", "relative_path_length",
        "relative_path_energy", "straightness", "curvature",
    ),
    "update": ("norm", "relative_norm", "cosine_next"),
}  # fmt: skip
SEQUENCE_METRICS = (
    "inter_token_cosine", "token_variance", "normalised_variance", "dirichlet_energy",
    "normalised_dirichlet_energy", "effective_rank", "participation_ratio",
)  # fmt: skip


def cosine(x, y):
    """Of vectors along the last axis."""
    return (x * y).sum(-1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))


def by_token(streams):
    """(T,) of every depth, of and metric that there is: of one sequence."""
    norms = [np.linalg.norm(h, axis=-1) for h in streams]
    updates = [None, *(after - before for before, after in pairwise(streams))]
    found, last = {}, len(streams) - 1
    length, energy, relative, relative_energy = np.zeros((4, len(streams[0])))
    for depth, h in enumerate(streams):
        if depth:
            size = np.linalg.norm(updates[depth], axis=-1)
            step = size / norms[depth - 1]
            length, energy = length + size, energy + size**2
            relative, relative_energy = relative + step, relative_energy + step**2
            found[depth, "update", "norm"] = size
            found[depth, "update", "relative_norm"] = step
            moved = np.linalg.norm(h - streams[0], axis=-1)
            found[depth, "stream", "straightness"] = moved / length
        found[depth, "stream", "norm"] = norms[depth]
        found[depth, "stream", "path_length"] = length
        found[depth, "stream", "path_energy"] = energy
        found[depth, "stream", "relative_path_length"] = relative
        found[depth, "stream", "relative_path_energy"] = relative_energy
        if depth < last:
            found[depth, "stream", "cosine_next"] = cosine(h, streams[depth + 1])
        if 0 < depth < last:
            turn = cosine(updates[depth], updates[depth + 1])
            found[depth, "update", "cosine_next"] = turn
            found[depth, "stream", "curvature"] = np.degrees(np.arccos(turn))
    return found


def by_sequence(h, kept):
    """The metrics of the tokens (T, E) that are kept (T,); neighbours are those in the text."""
    energy = (np.diff(h, axis=0) ** 2).sum(-1)[kept[1:] & kept[:-1]].mean()
    h = h[kept]
    count = len(h)
    unit = h / np.linalg.norm(h, axis=-1, keepdims=True)
    pairs = np.triu_indices(count, 1)
    variance = ((h - h.mean(0)) ** 2).sum(-1).mean()
    square = (h**2).sum(-1).mean()
    return {
        "inter_token_cosine": (unit @ unit.T)[pairs].mean(),
        "token_variance": variance,
        "normalised_variance": variance / square,
        "dirichlet_energy": energy,
        "normalised_dirichlet_energy": energy / square,
    }


def dimensions(h):
    """Effective rank and participation ratio of tokens (T, E)."""
    share = np.linalg.svd(h - h.mean(0), compute_uv=False) ** 2
    share = share[share > 0] / share[share > 0].sum()
    return {
        "effective_rank": np.exp(-(share * np.log(share)).sum()),
        "participation_ratio": 1 / (share**2).sum(),
    }


def spread_evenly(count, most):
    """The first token, and others evenly over the rest."""
    if count <= most:
        return np.arange(count)
    return np.concatenate([[0], np.linspace(1, count - 1, most - 1).round().astype(int)])


def weighted(values, weights):
    """Mean, standard error (None of fewer than two), tokens and sequences."""
    kept = [(v, w) for v, w in zip(values, weights, strict=True) if w > 0 and not np.isnan(v)]
    if not kept:
        return None, None, 0, 0
    values, weights = np.array(kept).T
    mean = (weights * values).sum() / weights.sum()
    error = None
    if len(kept) > 1:
        scatter = (weights * (values - mean) ** 2).sum()
        error = np.sqrt(scatter / (weights.sum() * (len(kept) - 1)))
    return mean, error, int(weights.sum()), len(kept)


def position_bins(longest):
    """0, 1, 2-3, 4-7, ..."""
    yield 0, 0
    low = 1
    while low < longest:
        yield low, 2 * low - 1
        low *= 2


@dataclass(frozen=True)
class Sequence:
    """Streams (T, E') at every depth, and which tokens (T,) are in each set."""

    streams: list[np.ndarray]
    sets: dict[str, np.ndarray]


def counted(one, found, coordinates):
    """A sequence, in all of its coordinates or without those that are massive in it."""
    left_out = found.large & (coordinates != "all")
    position = np.arange(len(found.long))
    sets = {"all": position >= 0, "without_first": position > 0, "without_massive": ~found.long}
    return Sequence([h[:, ~left_out] for h in one.streams], sets)


@oracle(
    "propagation",
    "depth of metric token_set coordinates position_low position_high value standard_error tokens "
    "sequences seq_len reason",
)
def flow(report, long):
    """`propagation` of every depth, metric, set of tokens and coordinates, and bin of positions."""
    for run in [*observed_runs(long), planted_run()]:
        for coordinates in ("all", "without_massive"):
            pairs = zip(run.told["passes"], judged(run), strict=True)
            _flow(report, run, coordinates, [counted(*pair, coordinates) for pair in pairs])


def _flow(report, run, coordinates, passes):
    longest = max(len(one.streams[0]) for one in passes)
    rows = _token_rows(passes, longest) + _sequence_rows(passes)
    expected = {name: [row[name] for row in rows] for name in rows[0]}
    values, errors = expected.pop("value"), expected.pop("standard_error")
    # Angles and cosines near their ends: absolute too.
    report.compare(
        run,
        "propagation",
        key="depth of metric token_set position_low position_high",
        where={"coordinates": coordinates},
        expected=expected
        | {
            "value": near(values, rel=REL, absolute=1e-5),
            "standard_error": near(errors, rel=5e-3, absolute=1e-5),
            "seq_len": longest,
        },
    )


def _row(place, token_set, found, bounds=(None, None), reason=None):
    names = ("depth", "of", "metric", "token_set", "position_low", "position_high")
    values = ("value", "standard_error", "tokens", "sequences", "reason")
    return dict(zip(names + values, (*place, token_set, *bounds, *found, reason), strict=True))


def _token_rows(passes, longest):
    found = [by_token(one.streams) for one in passes]
    rows, last = [], len(passes[0].streams) - 1
    for of, metrics in TOKEN_METRICS.items():
        for depth in range(1 if of == "update" else 0, last + 1):
            for metric in metrics:
                place = (depth, of, metric)
                if place not in found[0]:
                    rows += [_row(place, s, (None, None, 0, 0), reason=_why(metric, depth, last))
                             for s in passes[0].sets]  # fmt: skip
                    continue
                values = [one[place] for one in found]
                for token_set in passes[0].sets:
                    pairs = [
                        (v, one.sets[token_set]) for v, one in zip(values, passes, strict=True)
                    ]
                    rows.append(_row(place, token_set, _mean_of([v[kept] for v, kept in pairs])))
                    for low, high in position_bins(longest) if token_set in BINNED else ():
                        here = slice(low, high + 1)
                        parts = [v[here][kept[here]] for v, kept in pairs]
                        rows.append(_row(place, token_set, _mean_of(parts), (low, high)))
    return rows


def _mean_of(parts):
    return weighted([p.mean() if len(p) else np.nan for p in parts], [len(p) for p in parts])


def _why(metric, depth, last):
    if metric == "straightness":
        return "no token has moved"
    return "no block after it" if depth == last else "no block before it"


def _sequence_rows(passes):
    rows = []
    for depth in range(len(passes[0].streams)):
        for of in ("stream", "update") if depth else ("stream",):
            parts = [
                one.streams[depth] - (one.streams[depth - 1] if of == "update" else 0)
                for one in passes
            ]
            for token_set in passes[0].sets:
                sets = [one.sets[token_set] for one in passes]
                rows += _of_sequences((depth, of), token_set, parts, sets)
    return rows


def _of_sequences(place, token_set, parts, sets):
    """Of states (T, E') of every sequence, and which tokens of it are meant."""
    both = list(zip(parts, sets, strict=True))
    wholes = [by_sequence(h, kept) for h, kept in both]
    chosen = [spread_evenly(len(h), RANK_TOKENS) for h in parts]
    taken = [h[at][kept[at]] for at, (h, kept) in zip(chosen, both, strict=True)]
    ranks = [dimensions(h) for h in taken]
    rows = []
    for metric in SEQUENCE_METRICS:
        source = ranks if metric in ranks[0] else wholes
        weights = [len(h) for h in taken] if source is ranks else [kept.sum() for kept in sets]
        found = weighted([one[metric] for one in source], weights)
        rows.append(_row((*place, metric), token_set, found))
    return rows


#: Each up to 8, then two to a doubling.
LAGS = [*range(8), *(base << power for power in range(20) for base in (8, 12))]


@oracle(
    "perturbation",
    "depth lag gain standard_error relative_gain relative_standard_error size sequences seq_len",
)
def small_changes(report, long):
    """`perturbation`: the middle token of each sequence is moved by 1e-3 of its length.

    The direction is drawn by torch from the run's seed, the same for the same place in a batch.
    """
    for run in observed_runs(long):
        changes = [_changes(run, index) for index in range(len(run.told["passes"]))]
        longest = max(len(ids) for ids in run.told["sequences"])
        rows = []
        for depth in range(len(run.told["passes"][0].streams)):
            for lag in LAGS:
                here = [one[depth, lag] for one in changes if (depth, lag) in one]
                if here:
                    gains, relative = (
                        weighted(v, [1] * len(here)) for v in zip(*here, strict=True)
                    )
                    rows.append((depth, lag, *gains[:2], *relative[:2], len(here)))
        columns = list(zip(*rows, strict=True))
        # States are rounded to float32, by about 1e-7 of them: 1e-4 of what moves by 1e-3.
        gains, relative = np.array(columns[2]), np.array(columns[4])
        longer = np.divide(gains, relative, out=np.zeros_like(gains), where=relative > 0)
        report.compare(
            run,
            "perturbation",
            key="depth lag",
            expected={
                "depth": list(columns[0]),
                "lag": list(columns[1]),
                "gain": near(columns[2], rel=5e-3, absolute=ROUNDED * longer),
                "standard_error": near(columns[3], rel=2e-2, absolute=ROUNDED * longer),
                "relative_gain": near(columns[4], rel=5e-3, absolute=ROUNDED),
                "relative_standard_error": near(columns[5], rel=2e-2, absolute=ROUNDED),
                "size": 1e-3,
                "sequences": list(columns[6]),
                "seq_len": longest,
            },
        )


def _changes(run, index, batch_size=2, size=1e-3):
    """Gain and relative gain of one sequence by depth and lag."""
    ids, before = run.told["sequences"][index], run.told["passes"][index].streams
    start, middle = before[0], len(ids) // 2
    in_batch = min(batch_size, len(run.told["sequences"]) - index // batch_size * batch_size)
    drawn = torch.randn(
        in_batch, start.shape[1], generator=torch.Generator().manual_seed(run.manifest["seed"])
    ).numpy()[index % batch_size]
    change = size * np.linalg.norm(start[middle]) * drawn / np.linalg.norm(drawn)
    moved = start.copy()
    moved[middle] += change
    after = run_model(run.told["model"], ids, moved).streams
    found = {}
    for depth, (one, other) in enumerate(zip(before, after, strict=True)):
        for lag in LAGS:
            if middle + lag < len(ids):
                gain = np.linalg.norm((other - one)[middle + lag]) / np.linalg.norm(change)
                relative = np.linalg.norm(start[middle]) / np.linalg.norm(one[middle + lag])
                found[depth, lag] = gain, gain * relative
    return found
