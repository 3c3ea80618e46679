"""Oracle of comparisons: `decay_distance` and `summary_difference` from what both runs say.

W_1 = integral |F - G| of log10(decay rate), integrated here over the steps of both distributions:
of the exact rates in weights mode, and in data mode of those of every token in float64, within
what the bins of the run allow. Numbers that are subtracted are read from the runs' own tables,
which other oracles check.
"""

from __future__ import annotations

import math
import shutil
from functools import cache

import numpy as np
from safetensors.numpy import save_file

from spectrakit.comparison import compare
from spectrakit.tables import read_run
from tests.oracles.checking import near, oracle
from tests.oracles.definitions import QUANTILES
from tests.oracles.forward import run_model
from tests.oracles.observed_oracle import observed_rates
from tests.oracles.runs import (
    CHECKPOINTS,
    Model,
    RunFolder,
    data_run,
    model,
    observed_run,
    scratch,
    weights_run,
)
from tests.oracles.spectrum_oracle import share_columns


@cache
def comparison(first, other):
    """Of two runs, given as functions without arguments."""
    runs = first(), other()
    out = scratch("comparison")
    compare([read_run(run.folder) for run in runs], out)
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


@cache
def sharper_llama():
    """The same text through a tiny-llama whose queries are longer by half in its first layer."""
    folder, rows = scratch("sharper"), observed_llama().told["sequences"]
    shutil.copytree(CHECKPOINTS / "tiny-llama", folder)
    tensors = dict(model("tiny-llama").stored)
    name = "model.layers.0.self_attn.q_proj.weight"
    tensors[name] = 1.5 * tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    found = data_run(folder, rows, ("spectrum",))
    found.told["passes"] = [run_model(Model(folder), ids) for ids in rows]
    return found


PAIRS = (
    (nominal_mamba, nominal_mamba2),
    (observed_llama, sharper_llama),
    (observed_mamba, nominal_mamba2),
    (observed_mamba, observed_llama),
)
#: Whose gauges differ: attention has none that other layers have.
UNLIKE = PAIRS[3]


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
    """Decay rates with multiplicities of a layer (2, n), and how far bins may move them."""
    rows = [r for r in run.rows("spectrum") if r["layer"] == layer and r["domain"] == domain]
    if rows:
        return np.array([(r["decay_rate"], r["multiplicity"]) for r in rows]).T, 0.0
    found = observed_rates(run, layer)[0].pooled.flatten()
    return np.stack([found, np.ones(found.size)]), math.log10(1.01)


@oracle(
    "decay_distance",
    "model_id revision other_model_id other_revision other_run depth layer other_layer domain mode "
    "other_mode gauge other_gauge wasserstein_decades uncertainty_decades never_decaying "
    "other_never_decaying gone_at_once other_gone_at_once reason",
)
def distances(report, long):
    """`decay_distance` of models with as many layers, which are paired in order."""
    for pair in PAIRS:
        found, first, other = comparison(*pair)
        alike = pair is not UNLIKE
        layers = [row["layer"] for row in first.rows("layers")]
        for domain in ("discrete", "continuous"):
            both = [_labels(run, domain) for run in (first, other)]
            for layer in layers if all(both) else ():
                _distance(report, found, (first, other), layer, domain, len(layers), alike)


def _labels(run, domain):
    """Of whole layers; of attention in gauge retained, which goes before dsf."""
    return [
        row
        for row in run.rows("spectrum_summary")
        if row["domain"] == domain and row["head"] is None and row["gauge"] != "dsf"
    ]


def _distance(report, found, runs, layer, domain, layers, alike):
    (x, x_off), (y, y_off) = (rates(run, layer, domain) for run in runs)
    mine, theirs = (_labels(run, domain)[layer] for run in runs)
    moving = [(np.log10(v[0]), v[1]) for v in (x[:, x[0] > 0], y[:, y[0] > 0])]
    off = x_off + y_off
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
            # What float32 moves is little beside a bin.
            "wasserstein_decades": near(distance, absolute=1e-9 + 1.1 * off) if alike else None,
            "uncertainty_decades": near(off, absolute=1e-12) if alike else None,
            "never_decaying": near((x[1] * (x[0] <= 0)).sum() / x[1].sum(), rel=1e-12),
            "other_never_decaying": near((y[1] * (y[0] <= 0)).sum() / y[1].sum(), rel=1e-12),
            "gone_at_once": 0.0,
            "other_gone_at_once": 0.0,
            "reason": None if alike else _other_gauge(found, layer, domain),
        },
    )


def _other_gauge(found, layer, domain):
    """The reason that is given, which names both gauges."""
    (reason,) = [
        row["reason"]
        for row in found.rows("decay_distance")
        if (row["layer"], row["domain"]) == (layer, domain)
    ]
    assert "retained" in reason, reason
    assert "unnormalised" in reason, reason
    return reason


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
        if rows[0]["gauge"] != rows[1]["gauge"] and reason != "no-value":
            reason, difference = "other-gauge", None
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

    def of_timescale(row, name):
        """1 / (r (1 - e)) - 1 / r."""
        if row[name] is None or row["relative_error"] == 0:
            return row[name] and 0.0
        return row[name] * row["relative_error"] / (1 - row["relative_error"])

    def of_modulus(row, name):
        """exp(-r + e |r|) - exp(-r)."""
        value = row[name]
        return value and value * math.expm1(abs(math.log(value)) * row["relative_error"])

    names = [f"q{round(100 * q):02}" for q in QUANTILES]
    yield from ((name, stated) for name, *_ in share_columns())
    yield from ((f"decay_rate_{name}", of_rate) for name in names)
    yield from ((f"timescale_{name}", of_timescale) for name in names)
    yield from ((f"modulus_{name}", of_modulus) for name in names)
    yield from ((name, stated) for name in ("spectral_radius", "spectral_abscissa", "mean_modulus"))


def _flow(report):
    """Flow, by depth: standard errors add as squares."""
    found, first, other = comparison(*UNLIKE)
    for depth in range(4):
        rows = [
            {
                f"{r['metric']} {r['of']} {r['token_set']} {r['coordinates']}": r
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
