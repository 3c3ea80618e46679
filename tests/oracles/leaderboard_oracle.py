"""Oracle of the leaderboard: the boards again, from every eigenvalue of every run.

Weights mode has the eigenvalues in `spectrum`; those of tokens are recomputed in float64. Every
layer has the same weight. Places follow from values: they are held against the values' order, and
the values against the eigenvalues within what bins of 1 % allow.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np

from spectrakit.zoo.summary import write_summary
from tests.oracles.checking import between, near, oracle
from tests.oracles.comparison_oracle import (
    nominal_mamba,
    nominal_mamba2,
    observed_llama,
    observed_mamba,
    rates,
    sharper_llama,
    wasserstein,
)
from tests.oracles.observed_oracle import observed_rates
from tests.oracles.runs import RunFolder, observed_run, scratch

#: What bins move: of a timescale, relative; of a distance, in decades (half of it for each run).
REL, APART = 0.0101, 2 * math.log10(1.01)
#: Timescales beyond these are set to them.
SLOWEST, FASTEST = 1e-7, 1e2
BOARDS = ("longest memory", "most selective", "closest pairs", "oddest")


def runs():
    """By the names they have in the zoo."""
    return {
        "nominal-mamba": nominal_mamba(),
        "nominal-mamba2": nominal_mamba2(),
        "mamba": observed_mamba(),
        "mamba2": observed_run("tiny-mamba2"),
        "llama": observed_llama(),
        "sharper": sharper_llama(),
    }


@cache
def summary():
    """Of a zoo of these runs."""
    zoo = scratch("zoo")
    for name, run in runs().items():
        shutil.copytree(run.folder, zoo / "runs" / name)
    write_summary(zoo)
    return RunFolder(zoo / "summary")


def labels(run):
    """What is compared: mode, gauge, text and length, as the columns have them."""
    source = run.manifest["spec"]["source"]
    if run.manifest["mode"] == "weights":
        return "nominal", "unnormalised", None, None
    gauge = "retained" if run.rows("layers")[0]["kind"] == "softmax_attention" else "unnormalised"
    sha = hashlib.sha256(Path(source["tokens"]).read_bytes()).hexdigest()
    return "data", gauge, sha, source["seq_len"]


def pooled(run):
    """log10 rates of all layers and their weights, each layer's the same: (values, weights)."""
    layers = [rates(run, row["layer"], "discrete")[0] for row in run.rows("layers")]
    weights = np.concatenate([copies / copies.sum() / len(layers) for _, copies in layers])
    clipped = np.concatenate([np.clip(rate, SLOWEST, FASTEST) for rate, _ in layers])
    return np.log10(clipped), weights


def long_timescale(run):
    """The smallest timescale that 95 % of the weight does not exceed."""
    log_rate, weights = pooled(run)
    order = np.argsort(-log_rate)
    place = np.searchsorted(weights[order].cumsum(), 0.95 - 1e-12)
    return 10 ** -log_rate[order][place]


def token_spread(run):
    """Mean over layers of the deviation of log10 rate over tokens, over heads by mean square."""
    spreads = []
    for row in run.rows("layers"):
        mean = observed_rates(run, row["layer"])[0].pooled.mean(-1)
        spreads.append(np.sqrt(np.var(np.log10(mean), axis=0).mean()))
    return np.mean(spreads)


@oracle(
    "leaderboard",
    "model_id revision run board mode gauge seq_len rank value unit uncertainty layers other_run "
    "other_model_id other_revision",
)
def boards(report, long):
    """`leaderboard` of six runs of which three times two may be compared."""
    found, zoo = summary(), runs()
    groups = {}
    for name, run in zoo.items():
        groups.setdefault(labels(run), {})[name] = run
    for group, members in groups.items():
        _values(report, found, members, "longest memory", long_timescale, "step")
        if group[0] == "data":
            _values(report, found, members, "most selective", token_spread, "decade")
        _distances(report, found, members)
    assert Counter(row["board"] for row in found.rows("leaderboard")) == dict(
        zip(BOARDS, (6, 6, 3, 6), strict=True)
    )


def _row(found, board, name):
    rows = found.rows("leaderboard")
    (row,) = [row for row in rows if (row["board"], row["run"]) == (board, name)]
    return row


def _identity(run, prefix=""):
    return {f"{prefix}{name}": run.manifest[name] for name in ("model_id", "revision")}


def _labelled(run):
    mode, gauge, _, seq_len = labels(run)
    return {"mode": mode, "gauge": gauge, "seq_len": seq_len, "layers": len(run.rows("layers"))}


def _values(report, found, members, board, value_of, unit):
    """A board with a value of each run's own, the largest first."""
    values = {name: value_of(run) for name, run in members.items()}
    stored = [_row(found, board, name)["value"] for name in members]
    for name, run in members.items():
        stored_here = _row(found, board, name)["value"]
        rank = 1 + sum(other > stored_here for other in stored)
        binned = unit == "step"
        report.compare(
            found,
            "leaderboard",
            key="",
            where={"board": board, "run": name},
            expected=_identity(run)
            | _labelled(run)
            | {
                "rank": rank,
                "value": near(values[name], rel=REL if binned else 1e-4),
                "uncertainty": near(0.01 * stored_here, rel=1e-12) if binned else None,
                "unit": unit,
                "other_run": None,
                "other_model_id": None,
                "other_revision": None,
            },
        )


def _distances(report, found, members):
    """Each of the two is the other's nearest, and they are the only pair."""
    one, other = sorted(members)
    assert list(combinations(sorted(members), 2)) == [(one, other)]
    distance = wasserstein(pooled(members[one]), pooled(members[other]))
    for board, pairs in (
        ("closest pairs", [(one, other)]),
        ("oddest", [(one, other), (other, one)]),
    ):
        for name, nearest in pairs:
            report.compare(
                found,
                "leaderboard",
                key="",
                where={"board": board, "run": name},
                expected=_identity(members[name])
                | _identity(members[nearest], "other_")
                | _labelled(members[name])
                | {
                    "rank": 1,
                    "value": between(distance - APART, distance + APART),
                    "uncertainty": near(APART, rel=1e-12),
                    "unit": "decade",
                    "other_run": nearest,
                },
            )
