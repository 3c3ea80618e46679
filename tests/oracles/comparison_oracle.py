"""Oracle of comparisons: `decay_distance` and `summary_difference` from what both runs say.

W_1 = integral |F - G| of log10(decay rate), integrated here over the steps of both distributions.
Numbers that are subtracted are read from the runs' own tables, which other oracles check.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from spectrakit.comparison.compare import write_comparison
from spectrakit.tables import read_run
from tests.oracles.checking import between, near, oracle
from tests.oracles.definitions import QUANTILES
from tests.oracles.runs import RunFolder, observed_run, scratch, weights_run
from tests.oracles.spectrum_oracle import share_columns


@cache
def comparison(first, other):
    """Of two runs, given as functions without arguments."""
    runs = first(), other()
    out = scratch("comparison")
    write_comparison([read_run(run.folder) for run in runs], out)
    return RunFolder(out), *runs


def nominal_mamba():
    """tiny-mamba from weights."""
    return weights_run("tiny-mamba")


def nominal_mamba2():
    """tiny-mamba2 from weights."""
    return weights_run("tiny-mamba2")


def observed_mamba():
    """tiny-mamba on tokens."""
    return observed_run("tiny-mamba")


def observed_llama():
    """tiny-llama on tokens."""
    return observed_run("tiny-llama")


PAIRS = (
    (nominal_mamba, nominal_mamba2),
    (observed_mamba, observed_llama),
    (observed_mamba, nominal_mamba2),
)


def wasserstein(x, y):
    """Of two sets of values with weights, (values, weights) each."""
    ends = np.sort(np.concatenate([x[0], y[0]]))
    distribution = []
    for values, weights in (x, y):
        order = np.argsort(values)
        below = np.concatenate([[0], weights[order].cumsum()]) / weights.sum()
        distribution.append(below[np.searchsorted(values[order], ends[:-1], "right")])
    return (np.abs(distribution[0] - distribution[1]) * np.diff(ends)).sum()


def rates(run, layer, domain):
    """Decay rates with multiplicities of a layer: exact ones, or the bins' middles, and which."""
    rows = [r for r in run.rows("spectrum") if r["layer"] == layer and r["domain"] == domain]
    if rows:
        return np.array([(r["decay_rate"], r["multiplicity"]) for r in rows]).T, 0.0
    rows = [
        r
        for r in run.rows("spectrum_histogram")
        if r["layer"] == layer and r["domain"] == domain and r["head"] is None
    ]
    middles = [
        (r["decay_rate_low"] if r["decay_rate_low"] == r["decay_rate_high"] else
         math.copysign(math.sqrt(r["decay_rate_low"] * r["decay_rate_high"]), r["decay_rate_high"]),
         r["count"])
        for r in rows
    ]  # fmt: skip
    return np.array(middles).T, math.log10(1.01)


@oracle(
    "decay_distance",
    "model_id revision other_model_id other_revision other_run depth layer other_layer domain mode "
    "other_mode gauge other_gauge wasserstein_decades uncertainty_decades never_decaying "
    "other_never_decaying gone_at_once other_gone_at_once",
)
def distances(report, long):
    """`decay_distance` of models with as many layers, which are paired in order."""
    for pair in PAIRS:
        found, first, other = comparison(*pair)
        layers = [row["layer"] for row in first.rows("layers")]
        for domain in ("discrete", "continuous"):
            both = [_labels(run, domain) for run in (first, other)]
            for layer in layers if all(both) else ():
                _distance(report, found, (first, other), layer, domain, len(layers))


def _labels(run, domain):
    return [r for r in run.rows("spectrum_summary") if r["domain"] == domain and r["head"] is None]


def _distance(report, found, runs, layer, domain, layers):
    (x, x_off), (y, y_off) = (rates(run, layer, domain) for run in runs)
    mine, theirs = (_labels(run, domain)[layer] for run in runs)
    moving = [(np.log10(v[0]), v[1]) for v in (x[:, x[0] > 0], y[:, y[0] > 0])]
    # Bins of the histogram may stand in for exact rates, within what is said of it.
    slack = 1e-9 + sum(math.log10(1.01) for run in runs if not run.rows("spectrum"))
    if DISTANCES_FROM_BINS:
        slack = 2 * math.log10(1.01)
    distance = wasserstein(*moving)
    report.compare(
        found,
        "decay_distance",
        key="",
        where={"layer": layer, "domain": domain},
        expected={
            "model_id": runs[0].manifest["model_id"],
            "revision": runs[0].manifest["revision"],
            "other_model_id": runs[1].manifest["model_id"],
            "other_revision": runs[1].manifest["revision"],
            "other_run": 1,
            "depth": layer / (layers - 1),
            "other_layer": layer,
            "mode": mine["mode"],
            "other_mode": theirs["mode"],
            "gauge": mine["gauge"],
            "other_gauge": theirs["gauge"],
            "wasserstein_decades": near(distance, absolute=slack),
            "uncertainty_decades": between(max(x_off + y_off - 1e-12, 0), x_off + y_off + 1e-12),
            "never_decaying": near((x[1] * (x[0] <= 0)).sum() / x[1].sum(), rel=1e-12),
            "other_never_decaying": near((y[1] * (y[0] <= 0)).sum() / y[1].sum(), rel=1e-12),
            "gone_at_once": 0.0,
            "other_gone_at_once": 0.0,
            "reason": None,
        },
    )


#: Whether distances of exact eigenvalues are taken from the histogram's bins, whose width is then
#: not in the uncertainty.
DISTANCES_FROM_BINS = True


@oracle(
    "summary_difference",
    "model_id revision other_model_id other_revision other_run depth layer other_layer of_table "
    "metric value other_value difference uncertainty reason",
)
def differences(report, long):
    """`summary_difference`: of spectra, in full; of every other table, the arithmetic."""
    for pair in PAIRS:
        found, first, other = comparison(*pair)
        _arithmetic(report, found, first, other)
        for layer in [row["layer"] for row in first.rows("layers")]:
            for domain in ("discrete", "continuous"):
                _spectral(report, found, (first, other), layer, domain)
    _flow(report)


def _arithmetic(report, found, first, other):
    rows = found.rows("summary_difference")
    for row in rows:
        one, two = row["value"], row["other_value"]
        if row["difference"] is not None:
            assert row["difference"] == (0.0 if one == two else two - one), row
            assert (row["uncertainty"] is None) == (row["reason"] is not None), row
        else:
            assert row["reason"] is not None, row
            assert row["uncertainty"] is None, row
    for name, run in (("", first), ("other_", other)):
        for column in ("model_id", "revision"):
            assert {row[name + column] for row in rows} == {run.manifest[column]}
            report.note(f"summary_difference.{name}{column}")
    assert {row["other_run"] for row in rows} == {1}
    report.note("summary_difference.other_run")


def _spectral(report, found, runs, layer, domain):
    """Every number of `spectrum_summary`, and how far both of them may be off together."""
    both = [_labels(run, domain) for run in runs]
    if not all(both):
        return
    rows = [part[layer] for part in both]
    expected = {name: [] for name in ("metric", "value", "other_value", "difference", "reason")}
    uncertainty = []
    for name, off in _summaries():
        values = [row[name] for row in rows]
        if values == [None, None]:
            continue
        for column, value in zip(("metric", "value", "other_value"), (f"{name} {domain}", *values),
                                 strict=True):  # fmt: skip
            expected[column].append(value)
        bounds = [off(row, name) for row in rows]
        reason, difference = _difference(*values, bounds)
        expected["difference"].append(difference)
        expected["reason"].append(reason)
        known = difference is not None and None not in bounds
        uncertainty.append(sum(bounds) if known else None)
    found_rows = {
        row["metric"]: row
        for row in found.rows("summary_difference")
        if row["layer"] == layer and row["of_table"] == "spectrum_summary"
    }
    # Rows of the other domain are there too.
    mine = {metric for metric in found_rows if metric.endswith(f" {domain}")}
    assert mine == set(expected["metric"]), f"{found}: {mine ^ set(expected['metric'])}"
    for place, metric in enumerate(expected["metric"]):
        row, off = found_rows[metric], uncertainty[place]
        assert (row["depth"], row["other_layer"]) == (layer / 2, layer), row
        for column in ("value", "other_value", "difference", "reason"):
            assert row[column] == expected[column][place], (metric, column, row)
        assert (row["uncertainty"] is None) == (off is None), row
        assert off is None or math.isclose(row["uncertainty"], off, rel_tol=1e-9), row
    report.note("summary_difference.layer", "summary_difference.other_layer")
    if any(reason is not None for reason in expected["reason"]):
        report.note("summary_difference.reason")


def _difference(one, two, bounds):
    """The reason why something is missing, and the difference."""
    if one is None or two is None:
        return "no-value", None
    if math.isinf(one) and math.isinf(two):
        return ("no-bound" if None in bounds else None), 0.0
    return ("no-bound" if None in bounds else None), two - one


def _summaries():
    """Columns of `spectrum_summary`, and how far each may be off."""

    def stated(row, name):
        return row[f"{name}_bound"]

    def of_rate(row, name):
        return None if row[name] is None else abs(row[name]) * row["relative_error"]

    def of_modulus(row, name):
        value = row[name]
        if value is None:
            return None
        return abs(value * math.log(value)) * row["relative_error"] if value else 0.0

    def exact(row, _):
        return 0.0 if row["relative_error"] == 0 else None

    names = [f"q{round(100 * q):02}" for q in QUANTILES]
    yield from ((name, stated) for name, *_ in share_columns())
    yield from ((f"{of}_{name}", of_rate) for of in ("timescale", "decay_rate") for name in names)
    yield from ((f"modulus_{name}", of_modulus) for name in names)
    yield from ((name, exact) for name in ("spectral_radius", "spectral_abscissa", "mean_modulus"))


def _flow(report):
    """Flow, by depth: standard errors add as squares."""
    found, first, other = comparison(*PAIRS[1])
    for depth in range(4):
        rows = [
            {
                f"{r['metric']} {r['of']} {r['token_set']}": r
                for r in run.rows("propagation")
                if r["depth"] == depth and r["position_low"] is None
            }
            for run in (first, other)
        ]
        names = [n for n in rows[0] if {rows[0][n]["value"], rows[1][n]["value"]} != {None}]
        values = [[part[name]["value"] for name in names] for part in rows]
        errors = [[part[name]["standard_error"] for name in names] for part in rows]
        report.compare(
            found,
            "summary_difference",
            key="metric",
            where={"depth": depth / 3, "of_table": "propagation", "layer": None},
            expected={
                "metric": names,
                "other_layer": None,
                "value": values[0],
                "other_value": values[1],
                "difference": [b - a for a, b in zip(*values, strict=True)],
                "uncertainty": near(
                    [math.hypot(*pair) for pair in zip(*errors, strict=True)], 1e-9
                ),
                "reason": None,
            },
        )
