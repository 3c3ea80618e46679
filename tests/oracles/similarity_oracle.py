"""Oracle of `similarity`: from n x n matrices of float64, entry by entry of the definitions.

HSIC_1 (Song et al. 2012, eq. 4) of K, L without their diagonals; CKA is its correlation
(Kornblith et al. 2019; Nguyen et al. 2021). Mutual k-nearest neighbours: Huh et al. 2024.
Procrustes: |X - Y Q|_F of centred features of norm one, Q by SciPy's `orthogonal_procrustes`.

Nulls over permutations of the tokens of one of the two: Mantel's variance of 1967, or drawn.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import orthogonal_procrustes

from tests.oracles.checking import between, near, oracle
from tests.oracles.massive_oracle import judged, large_coordinates, planted_run
from tests.oracles.runs import CHECKPOINTS, ESTIMATORS, data_run, observed_runs, sequences

#: Of the estimators, as `SimilarityOptions` has them by default.
GROUP, SAMPLE, BANDWIDTH, NEIGHBOURS, PERMUTATIONS = 256, 512, 1.0, 10, 8
DRAWN = 200


def hsic(k, l):  # noqa: E741
    """HSIC_1 of two n x n kernels."""
    n = len(k)
    k, l = (m - np.diag(np.diag(m)) for m in (k, l))  # noqa: E741
    total = k.sum() * l.sum() / ((n - 1) * (n - 2))
    rows = 2 / (n - 2) * (k.sum(0) @ l.sum(0))
    return ((k * l).sum() + total - rows) / (n * (n - 3))


def u_centred(k):
    """The matrix whose inner products are n (n - 3) HSIC_1."""
    n = len(k)
    k = k - np.diag(np.diag(k))
    rows = k.sum(0) / (n - 2)
    k = k - rows - rows[:, None] + k.sum() / ((n - 1) * (n - 2))
    return k - np.diag(np.diag(k))


def linear(x):
    """X X^T of centred features."""
    x = x - x.mean(0)
    return x @ x.T


def gaussian(x):
    """exp(-|x_i - x_j|^2 / 2 s^2), s the median distance of two tokens."""
    squares = ((x[:, None] - x) ** 2).sum(-1)
    median = np.sort(np.sqrt(squares[np.triu_indices(len(x), 1)]))
    s = BANDWIDTH * median[(len(median) - 1) // 2]  # the lower one of two
    return np.exp(-squares / (2 * s**2))


def neighbours(x):
    """The matrix of which tokens are among the nearest k of which, by cosine."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -2)
    found = np.zeros(alike.shape)
    np.put_along_axis(found, np.argsort(-alike, axis=1)[:, :NEIGHBOURS], 1, axis=1)
    return found


def procrustes(x, y):
    """The distance of centred features of norm one after the best rotation."""
    x, y = (v - v.mean(0) for v in (x, y))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return np.linalg.norm(x @ orthogonal_procrustes(x, y)[0] - y)


def permuted(statistic, n, draw):
    """The values of a statistic of an order of n tokens, over random ones."""
    return np.array([statistic(draw.permutation(n)) for _ in range(DRAWN)])


@oracle(
    "similarity",
    "depth other_depth estimator value null_mean null_std null_z tokens tokens_seen token_set "
    "coordinates width other_width group_tokens neighbours bandwidth permutations reason",
)
def similarities(report, long):
    """`similarity` of one model: every estimator at every pair of depths."""
    _too_few(report)
    for run in [*list(observed_runs(False))[0 if long else 2 :], planted_run()]:
        draw = np.random.default_rng(0)
        known = {}
        for token_set, coordinates in VIEWS:
            features, lengths = _features(run, token_set, coordinates)
            shape = features[0].shape
            # Batches, and all tokens, are fewer than a group may have: each batch is one. But where
            # coordinates are left out, which is at the end, groups are of all tokens.
            ends = np.cumsum([sum(lengths[at : at + 2]) for at in range(0, len(lengths), 2)])[:-1]
            if shape[1] < len(run.told["passes"][0].streams[0][0]):
                ends = []
            for estimator in ESTIMATORS:
                if (estimator, shape) not in known:
                    known[estimator, shape] = _expected(estimator, features, ends, draw)
                where = {"token_set": token_set, "coordinates": coordinates}
                _estimator(report, run, estimator, where, known[estimator, shape], shape)


#: The sets of tokens and coordinates of which every value is there.
VIEWS = (("all", "all"), ("without_massive", "all"), ("without_massive", "without_massive"))


def _features(run, token_set, coordinates):
    """States (n, E') at every depth, and how many tokens of each sequence they are of."""
    found = judged(run)
    tokens = [one.long & (token_set != "all") for one in found]
    left_out = large_coordinates(found) & (coordinates != "all")
    depths = zip(*(one.streams for one in run.told["passes"]), strict=True)
    features = [
        np.concatenate([h[~long][:, ~left_out] for h, long in zip(depth, tokens, strict=True)])
        for depth in depths
    ]
    return features, [int((~long).sum()) for long in tokens]


def _too_few(report):
    """Of six tokens none has ten neighbours."""
    found = data_run(CHECKPOINTS / "tiny-mamba", sequences(2, 6)[:1], ("similarity",))
    report.compare(
        found,
        "similarity",
        key="depth other_depth",
        where={"estimator": "mutual_knn", "token_set": "all"},
        expected=dict.fromkeys(("value", "null_mean", "null_std", "null_z"))
        | {
            "depth": [a for a, _ in _pairs(4, "mutual_knn")],
            "other_depth": [b for _, b in _pairs(4, "mutual_knn")],
            "tokens": 0,
            "tokens_seen": 6,
            "reason": "too-few-tokens",
        },
    )


def _pairs(depths, estimator):
    if estimator == "procrustes":
        return [(d, d + 1) for d in range(depths - 1)]
    return [(a, b) for a in range(depths) for b in range(a, depths)]


def _expected(estimator, features, ends, draw):
    """Pairs of depths; of each the value, its null's mean and deviation, how far it may be off."""
    prepare = {"cka": linear, "cka_rbf": gaussian, "mutual_knn": neighbours}.get(estimator)
    kernels = [prepare(x) for x in features] if prepare else features
    if estimator == "cka_minibatch":
        kernels = [np.split(x, ends) for x in features]
    pairs = _pairs(len(features), estimator)
    found = [VALUES[estimator](kernels[a], kernels[b], draw) for a, b in pairs]
    return pairs, *(np.array(part) for part in zip(*found, strict=True))


def _estimator(report, run, estimator, where, expected, shape):
    n, width = shape
    pairs, value, mean, std, off = expected
    where = where | {"estimator": estimator}
    # A drawn null is known to some of its own standard errors.
    mean_off, std_off = 4.5 * std / np.sqrt(DRAWN), std * 5 / np.sqrt(2 * DRAWN)
    if estimator.startswith("cka"):
        mean_off, std_off = 0.0, 1e-5 * std
    if estimator == "procrustes":  # theirs is of a few
        mean_off, std_off = 5 * std / np.sqrt(PERMUTATIONS), 2 * std
    # Where all features are those of tokens' kinds, equal ones are at any order.
    rows = [row for row in run.rows("similarity") if where.items() <= row.items()]
    z = {(row["depth"], row["other_depth"]): row for row in rows}
    expected_z = [(z[pair]["value"] - z[pair]["null_mean"]) / z[pair]["null_std"] for pair in pairs]
    report.compare(
        run,
        "similarity",
        key="depth other_depth",
        where=where,
        expected={
            "depth": [a for a, _ in pairs],
            "other_depth": [b for _, b in pairs],
            "value": near(value, absolute=off),
            "null_mean": near(mean, absolute=mean_off),
            "null_std": between(std - std_off, std + std_off),
            "null_z": near(expected_z, rel=1e-9),
            "tokens": n,
            "tokens_seen": sum(map(len, run.told["sequences"])),
            "width": width,
            "other_width": width,
            "group_tokens": GROUP if estimator == "cka_minibatch" else None,
            "neighbours": NEIGHBOURS if estimator == "mutual_knn" else None,
            "bandwidth": BANDWIDTH if estimator == "cka_rbf" else None,
            "permutations": PERMUTATIONS if estimator == "procrustes" else None,
            "reason": None,
            "other_model_id": None,
            "other_revision": None,
            "other_run": None,
        },
    )


def mantel(a, b):
    """Variance of sum_ij a_ij b_p(i)p(j) over all permutations p (Mantel 1967).

    a, b symmetric, with diagonals of zero.
    """
    n = len(a)
    # Of each: sums over pairs that are one, that share a token, and of any two.
    two, three, all_ = np.array(
        [((m**2).sum(), (m.sum(0) ** 2).sum(), m.sum() ** 2) for m in (a, b)]
    ).T
    second = 2 * two.prod() / (n * (n - 1))
    second += 4 * (three - two).prod() / (n * (n - 1) * (n - 2))
    second += (all_ - 4 * three + 2 * two).prod() / (n * (n - 1) * (n - 2) * (n - 3))
    return second - all_.prod() / (n * (n - 1)) ** 2


def _cka(k, l, draw):  # noqa: E741
    """Value, null's mean and deviation, and how far the value may be off."""
    scale = np.sqrt(hsic(k, k) * hsic(l, l))
    n = len(k)
    null = mantel(u_centred(k), u_centred(l))
    return hsic(k, l) / scale, 0.0, np.sqrt(null) / (n * (n - 3) * scale), 2e-4


def _mutual(a, b, draw):
    n = len(a)
    null = permuted(lambda order: (a * b[np.ix_(order, order)]).sum(), n, draw)
    # At depth 0 a token of one kind has one state: which of equal ones are nearest is arbitrary.
    arbitrary = 0.03 if min(_ties(a), _ties(b)) else 0.01
    return (
        (a * b).sum() / (n * NEIGHBOURS),
        null.mean() / (n * NEIGHBOURS),
        null.std() / (n * NEIGHBOURS),
        arbitrary,
    )


def _ties(a):
    return a.sum() == len(a) * NEIGHBOURS


def _grouped(x, y, draw):
    """Of groups, lists of features: sums of n HSIC_1, and orders within each group."""
    sums, null = np.zeros(3), 0.0
    for own, other in zip(x, y, strict=True):
        k, l, n = linear(own), linear(other), len(own)  # noqa: E741
        sums += n * np.array([hsic(k, l), hsic(k, k), hsic(l, l)])
        null += mantel(u_centred(k), u_centred(l)) / (n - 3) ** 2
    scale = np.sqrt(sums[1] * sums[2])
    return sums[0] / scale, 0.0, np.sqrt(null) / scale, 2e-4


def _distance(x, y, draw):
    # After the best rotation |X - Y Q|^2 is 2 less twice the sum of the singular values of X^T Y.
    a, b = (v - v.mean(0) for v in (x, y))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    null = np.array([
        np.sqrt(2 - 2 * np.linalg.svd(a.T @ b[draw.permutation(len(b))], compute_uv=False).sum())
        for _ in range(15)
    ])  # fmt: skip
    return procrustes(x, y), null.mean(), null.std(), 1e-3


VALUES = {
    "cka": _cka,
    "cka_rbf": _cka,
    "mutual_knn": _mutual,
    "cka_minibatch": _grouped,
    "procrustes": _distance,
}
