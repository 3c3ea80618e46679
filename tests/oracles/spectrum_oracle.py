"""Oracle of spectra in weights mode: every eigenvalue, and what is summarised and counted of them.

Values are compared to 1e-12 (|lambda|: to 1e-12 of one); S4's, which are no closed form, and the
radii, abscissae and means that are made of them, within the bound that stands beside each, against
40 digits.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from tests.oracles import eigenvalues
from tests.oracles.checking import between, near, oracle
from tests.oracles.definitions import PHASE_EDGES, QUANTILES, RADIUS_EDGES
from tests.oracles.made import made_run
from tests.oracles.runs import model, weights_run

EDGE_NAMES = {0.1: "0p1", 0.5: "0p5", 0.9: "0p9"}


def weights_cases(long):
    """Runs in weights mode, with the eigenvalues of their layers."""
    for name in ("tiny-mamba", "tiny-mamba2"):
        layers = range(model(name).config["num_hidden_layers"])
        yield weights_run(name), [eigenvalues.of_bundled(model(name), i) for i in layers]
    for family in ("minimal-s4d", "s4", "lru"):
        for seed in range(5 if long else 1):
            run = made_run(family, seed)
            yield run, run.told["layers"]
        if long:
            run = made_run(family, sizes=(("states", 6 if family == "s4" else 16),))
            yield run, run.told["layers"]


def positions(layer):
    """head, channel and state of eigenvalues (H, K)."""
    heads, distinct = layer.values.shape
    index = np.repeat(np.arange(heads), distinct).tolist()
    state = np.tile(np.arange(distinct), heads).tolist() if layer.states else None
    own = {layer.axis: index, "state": state}
    return {"head": None, "channel": None} | own


@oracle(
    "spectrum",
    "layer head channel state domain mode gauge re im modulus phase_deg decay_rate timescale_steps "
    "multiplicity error_bound",
)
def every_eigenvalue(report, long):
    """`spectrum` of weights, in both domains."""
    for run, layers in weights_cases(long):
        for index, layer in enumerate(layers):
            _discrete(report, run, index, layer)
            if layer.continuous is not None:
                _continuous(report, run, index, layer)


def _discrete(report, run, index, layer):
    values, rate = layer.values.flatten(), layer.rate.flatten()
    place = {"layer": index, "domain": "discrete"}
    expected = positions(layer)
    near_by = 1e-12
    if not layer.exact:
        rows = [row for row in run.rows("spectrum") if place.items() <= row.items()]
        order, bound = _paired(rows, layer, expected)
        values, rate, near_by = values[order], rate[order], bound
        # A bound is of use only where it is small; it holds for every eigenvalue.
        expected["error_bound"] = between(np.full(len(rows), 1e-300), np.full(len(rows), 1e-9))
    else:
        expected["error_bound"] = None
    modulus = np.abs(values)
    report.compare(
        run,
        "spectrum",
        key="head channel state",
        where=place,
        expected=expected
        | {
            "mode": layer.mode,
            "gauge": "unnormalised",
            "re": near(values.real, absolute=near_by),
            "im": near(values.imag, absolute=near_by),
            "modulus": near(modulus, absolute=near_by),
            "phase_deg": near(np.degrees(np.angle(values)), absolute=1e-9),
            "decay_rate": near(rate, rel=1e-11, absolute=0 if layer.exact else 1e-10),
            "timescale_steps": near(1 / rate, rel=1e-9),
            "multiplicity": layer.multiplicity,
        },
    )


def _paired(rows, layer, expected):
    """Indices of the true eigenvalues that the rows stand for, and the rows' bounds.

    The k-th of a dense matrix's eigenvalues is nobody's: within a channel they are paired by
    distance.
    """
    heads, distinct = layer.values.shape
    by_place = {(row[layer.axis], row["state"]): row for row in rows}
    in_order = [by_place[at] for at in zip(expected[layer.axis], expected["state"], strict=True)]
    found = np.array([complex(row["re"], row["im"]) for row in in_order]).reshape(heads, distinct)
    order = []
    for head in range(heads):
        _, of = linear_sum_assignment(np.abs(found[head][:, None] - layer.values[head]))
        order += (of + head * distinct).tolist()
    return order, np.array([row["error_bound"] for row in in_order])


def _continuous(report, run, index, layer):
    values = layer.continuous.flatten()
    place = {"layer": index, "domain": "continuous"}
    expected = positions(layer) | {"error_bound": None}
    near_by = 1e-12 * np.abs(values)
    if not layer.exact:
        rows = [row for row in run.rows("spectrum") if place.items() <= row.items()]
        order, near_by = _paired(rows, _swapped(layer), expected)
        values = values[order]
        expected["error_bound"] = between(np.full(len(rows), 1e-300), 1e-9 * np.abs(values))
    report.compare(
        run,
        "spectrum",
        key="head channel state",
        where=place,
        expected=expected
        | {
            "mode": "static",
            "gauge": "unnormalised",
            "re": near(values.real, absolute=near_by),
            "im": near(values.imag, absolute=near_by),
            "decay_rate": near(-values.real, absolute=near_by),
            "modulus": None,
            "phase_deg": None,
            "timescale_steps": None,
            "multiplicity": layer.multiplicity,
        },
    )


def _swapped(layer):
    """The continuous eigenvalues in the place of the discrete ones."""
    return eigenvalues.Eigenvalues(layer.continuous, layer.rate, None, "static", layer.axis)


def share_columns():
    """Names of the share columns, with what they are of and their edges."""
    for of, edges in (("modulus", RADIUS_EDGES), ("phase", PHASE_EDGES)):
        for low, high in pairwise(edges):
            ends = [EDGE_NAMES.get(edge, f"{edge:g}") for edge in (low, high)]
            yield f"share_{of}_{ends[0]}_{ends[1]}", of, low, high


def in_bin(values, low, high, *, last):
    """Which values are in a bin that is closed on the right (the first on both sides)."""
    above = values >= low if low == 0 else values > low
    return above & ((values <= high) | last)


QUANTILE_COLUMNS = " ".join(
    f"{of}_q{round(100 * q):02}" for of in ("modulus", "timescale", "decay_rate") for q in QUANTILES
)
SHARES = " ".join(name for name, *_ in share_columns())
SUMMARY = (
    "layer head domain mode gauge count spectral_radius spectral_radius_bound stable mean_modulus "
    "mean_modulus_bound relative_error "
    f"{QUANTILE_COLUMNS} {SHARES} " + " ".join(f"{name}_bound" for name in SHARES.split())
)


@oracle("spectrum_summary", f"{SUMMARY} spectral_abscissa spectral_abscissa_bound")
def exact_summaries(report, long):
    """`spectrum_summary` of weights: quantiles, shares, radius and abscissa of all eigenvalues."""
    for run, layers in weights_cases(long):
        for index, layer in enumerate(layers):
            heads = [None]
            if layer.axis == "head":
                heads += range(len(layer.values))
            for head in heads:
                _exact_summary(report, run, index, layer, head)
            if layer.continuous is not None:
                _continuous_summary(report, run, index, layer)


def _exact_summary(report, run, index, layer, head):
    chosen = slice(None) if head is None else [head]
    rate, degrees = layer.rate[chosen].flatten(), np.abs(layer.degrees[chosen]).flatten()
    slack = 0.0 if layer.exact else 1e-9
    where = {"layer": index, "head": head, "domain": "discrete"}
    report.compare(
        run,
        "spectrum_summary",
        key="",
        where=where,
        expected=_bounded(run, where, "spectral_radius", np.exp(-rate.min()), layer)
        | _bounded(run, where, "mean_modulus", np.exp(-rate).mean(), layer)
        | {
            "tokens": None,
            "sequences": None,
            "mode": layer.mode,
            "gauge": "unnormalised",
            "count": rate.size * layer.multiplicity,
            "spectral_abscissa": None,
            "spectral_abscissa_bound": None,
            "stable": bool(rate.min() > 0),
            **_quantiles(rate, 1e-11 + slack),
            **_shares(rate, degrees),
            "relative_error": 0.0 if layer.exact else between(0.0, 1e-6),
            "token_spread": 0.0 if layer.mode == "static" else None,
        },
    )


def _bounded(run, where, column, value, layer):
    """A number and its bound: 0 where eigenvalues are a closed form, else small, and kept to."""
    if layer.exact:
        return {column: near(value, rel=1e-12), f"{column}_bound": 0.0}
    (row,) = [row for row in run.rows("spectrum_summary") if where.items() <= row.items()]
    bound = row[f"{column}_bound"]
    small = between(1e-300, 1e-9 * abs(value))
    return {column: near(value, rel=1e-16, absolute=bound), f"{column}_bound": small}


def _quantiles(rate, rel):
    """Smallest values that a share q does not exceed, of rates, timescales and moduli."""
    found = {}
    for name, values in (("decay_rate", rate), ("timescale", 1 / rate), ("modulus", np.exp(-rate))):
        for q in QUANTILES:
            value = np.quantile(values, q, method="inverted_cdf")
            found[f"{name}_q{round(100 * q):02}"] = near(value, rel=rel)
    return found


def _shares(rate, degrees):
    found = {}
    for name, of, low, high in share_columns():
        values = np.exp(-rate) if of == "modulus" else degrees
        last = of == "phase" and high == PHASE_EDGES[-1]
        found[name] = near(in_bin(values, low, high, last=last).mean(), rel=1e-14)
        found[f"{name}_bound"] = 0.0
    return found


def _continuous_summary(report, run, index, layer):
    real = layer.continuous.real.flatten()
    rel = 1e-12 if layer.exact else 1e-9
    names = [f"decay_rate_q{round(100 * q):02}" for q in QUANTILES]
    values = [np.quantile(-real, q, method="inverted_cdf") for q in QUANTILES]
    where = {"layer": index, "head": None, "domain": "continuous"}
    nulls = (
        f"{SHARES} spectral_radius spectral_radius_bound mean_modulus mean_modulus_bound "
        "timescale_q50 tokens sequences token_spread"
    )
    report.compare(
        run,
        "spectrum_summary",
        key="",
        where=where,
        expected={name: near(v, rel=rel) for name, v in zip(names, values, strict=True)}
        | dict.fromkeys(nulls.split())
        | _bounded(run, where, "spectral_abscissa", real.max(), layer)
        | {
            "mode": "static",
            "gauge": "unnormalised",
            "count": real.size * layer.multiplicity,
            "stable": bool(real.max() < 0),
            "relative_error": 0.0 if layer.exact else between(1e-300, 1e-9),
        },
    )


@oracle(
    "spectrum_histogram",
    "layer head domain mode gauge decay_rate_low decay_rate_high phase_low_deg phase_high_deg "
    "count",
)
def exact_histograms(report, long):
    """`spectrum_histogram` of weights: every eigenvalue is in the one bin that its row names."""
    for run, layers in weights_cases(long):
        for index, layer in enumerate(layers):
            heads = [None, *range(len(layer.values))] if layer.axis == "head" else [None]
            for head in heads:
                _histogram(report, run, index, layer, head)


def _histogram(report, run, index, layer, head):
    chosen = slice(None) if head is None else [head]
    rate, degrees = layer.rate[chosen].flatten(), layer.degrees[chosen].flatten()
    # Bins are powers of 1.01. None lies so near an edge that 1e-9 would carry it across.
    bins = np.floor(np.log(rate) / np.log(1.01))
    lows, highs = 1.01**bins, 1.01 ** (bins + 1)
    turn_low, turn_high = phase_bins(degrees)
    places, counts = np.unique(np.stack([bins, turn_low, turn_high]), axis=1, return_counts=True)
    lows, highs = 1.01 ** places[0], 1.01 ** (places[0] + 1)
    where = {"layer": index, "head": head, "domain": "discrete"}
    rows = [row for row in run.rows("spectrum_histogram") if where.items() <= row.items()]
    # The edges themselves are rounded: they tell rows apart by their logarithm.
    keyed = {
        (round(np.log(row["decay_rate_low"]) / np.log(1.01)), row["phase_low_deg"],
         row["phase_high_deg"]): row
        for row in rows
    }  # fmt: skip
    assert len(keyed) == len(rows), f"{run}: {where}: bins occur twice"
    in_order = [keyed.pop(tuple(place)) for place in places.T.tolist()]
    assert not keyed, f"{run}: {where}: bins that hold nothing, {keyed}"
    report.compare(
        run,
        "spectrum_histogram",
        key="decay_rate_low phase_low_deg",
        where=where,
        expected={
            "decay_rate_low": [row["decay_rate_low"] for row in in_order],
            "decay_rate_high": near(highs, rel=1e-12),
            "phase_low_deg": places[1],
            "phase_high_deg": places[2],
            "mode": layer.mode,
            "gauge": "unnormalised",
            "count": counts * layer.multiplicity,
        },
    )
    np.testing.assert_allclose([row["decay_rate_low"] for row in in_order], lows, rtol=1e-12)


def phase_bins(degrees):
    """Edges of the bins of signed phases: 0 and 180 alone, (0, 1], (1, 5], then each 5 degrees."""
    edges = np.array([0.0, 1.0, *range(5, 181, 5)])
    size = np.abs(degrees)
    size = np.where(size > 180 - 1e-9, 180, size)
    above = np.searchsorted(edges, size)
    low, high = edges[np.maximum(above - 1, 0)], edges[above]
    low, high = np.where(size == 0, 0, low), np.where(size == 0, 0, high)
    low = np.where(size == 180, 180, low)
    turned = (degrees < 0) & (size < 180)
    return np.where(turned, -high, low), np.where(turned, -low, high)
