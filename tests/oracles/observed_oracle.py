"""Oracle of what data mode counts of eigenvalues: summaries, histogram, released bins.

Decay rates are recomputed of every token in float64. A sketch keeps them in bins 1 % wide, so
counts are held between those of rates that are 1 % smaller and 1 % larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tests.oracles.checking import between, near, oracle
from tests.oracles.definitions import (
    FIRST_COUNTED,
    PHASE_EDGES,
    QUANTILES,
    RADIUS_EDGES,
    SKETCH_ERROR,
)
from tests.oracles.forward import Attention, run_model, softplus
from tests.oracles.made_attention import sink_run
from tests.oracles.runs import CHECKPOINTS, data_run, model, observed_runs, sequences
from tests.oracles.spectrum_oracle import SUMMARY, in_bin, share_columns

LOG_QUANTILES = " ".join(f"log_query_factor_q{round(100 * q):02}" for q in QUANTILES)

#: What the model's float32 may move of a decay rate, relative and absolute.
REL, ABSOLUTE = 1e-4, 2e-5


@dataclass(frozen=True)
class Observed:
    """-log|lambda_t| of a layer in a gauge, by sequence: (T', H, K), of the tokens that count.

    copies: eigenvalues that each stands for. axis: "head" or "channel".
    """

    rates: list[np.ndarray]
    copies: int
    axis: str
    gauge: str

    @property
    def pooled(self):
        """Of all sequences, (n, H, K)."""
        return np.concatenate(self.rates)


def spectrum_runs(long):
    """The bundled models, and attention with learned sinks and a window."""
    yield from observed_runs(long)
    for seed in range(4 if long else 1):
        yield sink_run(seed)


def observed_rates(found, layer):
    """What a run saw of a layer, in every gauge that its spectrum is in."""
    mixers = [one.mixers[layer] for one in found.told["passes"]]
    first = FIRST_COUNTED
    if isinstance(mixers[0], Attention):
        return [
            Observed([rates(m) for m in mixers], 1, "head", gauge)
            for gauge, rates in (("retained", retained_rates), ("dsf", dsf_rates))
        ]
    if mixers[0].u.ndim == 2:
        rates = [(m.step[:, :, None] * m.rate)[first:] for m in mixers]
        return [Observed(rates, 1, "channel", "unnormalised")]
    rates = [(m.step * m.rate)[first:, :, None] for m in mixers]
    copies = mixers[0].u.shape[-1] * mixers[0].key.shape[-1]
    return [Observed(rates, copies, "head", "unnormalised")]


def dsf_rates(mixer):
    """lambda_t = nu_{t-1} / nu_t, of which there is none of the first token: (T - 1, H, 1)."""
    return np.diff(mixer.log_normaliser, axis=1).T[:, :, None]


def retained_rates(mixer):
    """lambda_t = 1 - p_tt: (T - 1, H, 1)."""
    return -mixer.log_retained.T[:, :, None]


def layers_of(found):
    """Indices of a run's layers."""
    return range(len(found.told["passes"][0].mixers))


def groups(seen):
    """None with all rates of a layer, and heads with theirs."""
    yield None, seen.pooled.flatten()
    for head in range(seen.pooled.shape[1]) if seen.axis == "head" else ():
        yield head, seen.pooled[:, head].flatten()


@oracle("spectrum_summary", f"{SUMMARY} tokens sequences token_spread")
def observed_summaries(report, long):
    """`spectrum_summary` of tokens."""
    for run in spectrum_runs(long):
        for layer in layers_of(run):
            for seen in observed_rates(run, layer):
                for head, rates in groups(seen):
                    _summary(report, run, layer, seen, head, rates)


def _summary(report, run, layer, seen, head, rates):
    where = {"layer": layer, "head": head, "domain": "discrete", "gauge": seen.gauge}
    report.compare(
        run,
        "spectrum_summary",
        key="",
        where=where,
        expected={
            "mode": "data",
            "count": rates.size * seen.copies,
            "tokens": len(seen.pooled),
            "sequences": len(seen.rates),
            "spectral_radius": near(np.exp(-rates.min()), rel=REL),
            "spectral_radius_bound": 0.0,
            "spectral_abscissa": None,
            "spectral_abscissa_bound": None,
            "stable": True if rates.min() > 0 else None,
            **_mean_modulus(run, where, seen, rates),
            **_quantiles(rates),
            **_shares(run, where, rates),
            "relative_error": near(SKETCH_ERROR, rel=1e-12),
            "token_spread": _token_spread(seen.pooled if head is None else seen.pooled[:, [head]]),
        },
    )


def _token_spread(rates):
    """Of rates (n, H, K): of the mean over K, the deviation of its log10 over n; over H."""
    mean = rates.mean(-1)
    if (mean < 0).any():
        return None
    return near(np.sqrt(np.var(np.log10(mean), axis=0).mean()), rel=1e-4, absolute=1e-4)


def _mean_modulus(run, where, seen, rates):
    """Exact, or of binned rates of channels: each may be off by 1 %, which moves |lambda| <= 1 by
    at most .01 / e."""
    off = np.abs(rates) * REL + ABSOLUTE
    low, high = np.exp(-rates - off).mean(), np.exp(-rates + off).mean()
    if seen.axis == "head":
        return {"mean_modulus": between(low, high), "mean_modulus_bound": 0.0}
    (row,) = [row for row in run.rows("spectrum_summary") if where.items() <= row.items()]
    bound = row["mean_modulus_bound"]
    return {
        "mean_modulus": between(low - bound, high + bound),
        "mean_modulus_bound": between(1e-9, 1.05 * SKETCH_ERROR / np.e),
    }


def _quantiles(rates):
    """A value that occurs, off by 1 % of the rate at most."""
    found = {}
    for q in QUANTILES:
        name = f"q{round(100 * q):02}"
        low, high = (
            np.quantile(rates, share, method="inverted_cdf") for share in (q, np.nextafter(q, 1))
        )
        found[f"decay_rate_{name}"] = between(*_blurred(low, high))
        # Of what falls as the rate rises: the smallest that a share q does not exceed.
        slow = np.sort(rates)[::-1][int(np.ceil(q * rates.size)) - 1]
        slowest, fastest = _blurred(slow, slow)
        found[f"modulus_{name}"] = between(np.exp(-fastest), np.exp(-slowest))
        found[f"timescale_{name}"] = between(_timescale(fastest), _timescale(slowest))
    return found


def _blurred(low, high):
    """How far rates may be off."""
    return (
        low - abs(low) * (SKETCH_ERROR + REL) - ABSOLUTE,
        high + abs(high) * (SKETCH_ERROR + REL) + ABSOLUTE,
    )


def _timescale(rate):
    return 1 / rate if rate > 0 else np.inf


def _shares(run, where, rates):
    """The true share lies within the stated bound of the stated one; the bound is no idle one.

    It is at most the share of eigenvalues within three bins of an edge.
    """
    (row,) = [row for row in run.rows("spectrum_summary") if where.items() <= row.items()]
    moduli, found = np.exp(-rates), {}
    for name, of, low, high in share_columns():
        if of == "phase":  # all are positive
            found[name], found[f"{name}_bound"] = near(float(low == 0), rel=1e-12), 0.0
            continue
        share, bound = in_bin(moduli, low, high, last=False).mean(), row[f"{name}_bound"]
        rounding = _near_edges(rates, (low, high), 2 * REL)
        found[name] = between(max(0, share - bound - rounding), share + bound + rounding)
        found[f"{name}_bound"] = between(0.0, _near_edges(rates, (low, high), 4 * SKETCH_ERROR))
    return found


def _near_edges(rates, edges, share):
    """Of the rates, the share that lies near one of the |lambda| edges, and 1e-12."""
    ends = [-np.log(edge) for edge in edges if 0 < edge < np.inf]
    close = [np.abs(rates - end) <= share * abs(end) + 2 * ABSOLUTE for end in ends]
    return np.any(close, axis=0).mean() + 1e-12


@oracle(
    "spectrum_histogram",
    "layer head domain mode gauge decay_rate_low decay_rate_high phase_low_deg phase_high_deg "
    "count",
)
def observed_histograms(report, long):
    """`spectrum_histogram` of tokens: cumulative counts, within a bin on either side."""
    for run in spectrum_runs(long):
        for layer in layers_of(run):
            for seen in observed_rates(run, layer):
                for head, rates in groups(seen):
                    _histogram(report, run, layer, seen, head, rates)


def _histogram(report, run, layer, seen, head, rates):
    where = {"layer": layer, "head": head, "domain": "discrete", "gauge": seen.gauge}
    rows = [row for row in run.rows("spectrum_histogram") if where.items() <= row.items()]
    rows.sort(key=lambda row: row["decay_rate_low"])
    low, high, counts = (
        np.array([row[name] for row in rows])
        for name in ("decay_rate_low", "decay_rate_high", "count")
    )
    assert counts.sum() == rates.size * seen.copies, f"{run}: {where}: counts do not add up"
    smaller, larger = _blurred(rates, rates)
    above = [(np.sort(edge), seen.copies) for edge in (smaller, larger)]
    most, least = (np.searchsorted(edge, high, "right") * copies for edge, copies in above)
    report.compare(
        run,
        "spectrum_histogram",
        key="decay_rate_low",
        where=where,
        expected={
            "decay_rate_low": low,
            # Either bins of 1.01, on either side of zero, or a counter of |lambda| = 1 alone.
            "decay_rate_high": near(np.where(low < 0, low / 1.01, low * 1.01), rel=1e-9),
            "phase_low_deg": 0.0,
            "phase_high_deg": 0.0,
            "mode": "data",
            "count": counts,
        },
    )
    cumulative = counts.cumsum()
    assert (cumulative <= most).all(), f"{run}: {where}: more below an edge than there are"
    assert (cumulative >= least).all(), f"{run}: {where}: fewer below an edge than there are"
    edges = np.log(np.abs(low[low != 0])) / np.log(1.01)
    np.testing.assert_allclose(edges, np.round(edges), atol=1e-6)


@oracle(
    "query_factor",
    "model_id revision layer head count left_out mean_log_dsf mean_log_retained "
    f"mean_log_query_factor {LOG_QUANTILES}",
)
def query_factors(report, long):
    """`query_factor` of attention: log lambda_dsf - log lambda_retained of every token."""
    for run in spectrum_runs(long):
        for layer in layers_of(run):
            seen = {one.gauge: one for one in observed_rates(run, layer)}
            if "dsf" not in seen:
                continue
            for head, dsf in groups(seen["dsf"]):
                retained = dict(groups(seen["retained"]))[head]
                _query_factor(report, run, layer, head, -dsf, -retained)


def _query_factor(report, run, layer, head, dsf, retained):
    factor = dsf - retained
    means = {"dsf": dsf, "retained": retained, "query_factor": factor}
    quantiles = (np.quantile(factor, q, method="inverted_cdf") for q in QUANTILES)
    report.compare(
        run,
        "query_factor",
        key="",
        where={"layer": layer, "head": head},
        expected={
            "model_id": run.manifest["model_id"],
            "revision": run.manifest["revision"],
            "count": factor.size,
            "left_out": 0,
        }
        | {
            f"mean_log_{name}": near(v.mean(), rel=REL, absolute=ABSOLUTE)
            for name, v in means.items()
        }
        | {
            name: between(*_blurred(value, value))
            for name, value in zip(LOG_QUANTILES.split(), quantiles, strict=True)
        },
    )


@oracle(
    "released_bins", "model_id revision layer head of low high mean_percent std_percent sequences"
)
def released_percentages(report, long):
    """`released_bins`: as the code that was released with arXiv 2510.09379 counts.

    Softmax scores are of the projections of the block's output, without norm, scale or rotary
    embeddings; every future token counts as exp(0). Mamba-2's steps are counted at the first token
    too.
    """
    for name in ("tiny-llama", "tiny-mamba2"):
        rows = sequences(4, 40)[:-1]
        run = data_run(CHECKPOINTS / name, rows, ("spectrum",), compat="rickenbach2025")
        for layer in range(model(name).config["num_hidden_layers"]):
            rates = [_released_rates(model(name), ids, layer) for ids in rows]
            moduli = [np.exp(-rate.clip(min=-700)) for rate in rates]
            _released(report, run, layer, moduli)


def _released_rates(one, ids, layer):
    """(T', H) of the released analysis."""
    hidden = run_model(one, ids).streams[layer + 1]
    if one.config["model_type"] == "llama":
        at, width = f"model.layers.{layer}.self_attn", one.config["head_dim"]
        query, key = (
            (hidden @ one[f"{at}.{name}_proj.weight"].T).reshape(len(ids), -1, width)
            for name in ("q", "k")
        )
        scores = np.einsum("thk,shk->hts", query, key)
        scores = np.where(np.tri(len(ids), dtype=bool), scores, 0.0)
        largest = scores.max(-1, keepdims=True)
        log_nu = largest[..., 0] + np.log(np.exp(scores - largest).sum(-1))
        return np.diff(log_nu, axis=1).T
    at, heads = f"backbone.layers.{layer}.mixer", one.config["num_heads"]
    raw = hidden @ one[f"{at}.in_proj.weight"][-heads:].T
    return softplus(raw + one[f"{at}.dt_bias"]) * np.exp(one[f"{at}.A_log"])


def _released(report, run, layer, moduli):
    """Bins closed at both ends, percentages of each sequence, then mean and spread of those."""
    heads = moduli[0].shape[1]
    expected = {name: [] for name in ("head", "of", "low", "high")}
    means, spreads, slack = [], [], []
    for head in range(heads):
        for of, edges in (("modulus", RADIUS_EDGES), ("phase_deg", (*PHASE_EDGES, np.inf))):
            for low, high in pairwise(edges):
                values = [m[:, head] if of == "modulus" else 0 * m[:, head] for m in moduli]
                percents = [100 * _inside(v, low, high).mean() for v in values]
                unsure = [100 * _at_edge(v, low, high).mean() for v in values]
                for name, value in zip(expected, (head, of, low, high), strict=True):
                    expected[name].append(value)
                means.append(np.mean(percents))
                spreads.append(np.std(percents))
                slack.append(max(unsure) + 1e-6)  # a spread is kept as sums of squares
    report.compare(
        run,
        "released_bins",
        key="head of low",
        where={"layer": layer},
        expected=expected
        | {
            "model_id": run.manifest["model_id"],
            "revision": run.manifest["revision"],
            "mean_percent": near(means, absolute=np.array(slack)),
            "std_percent": near(spreads, absolute=np.array(slack)),
            "sequences": len(moduli),
        },
    )


def _inside(values, low, high):
    return values > low if np.isinf(high) else (values >= low) & (values <= high)


def _at_edge(values, low, high):
    """Values that float32 may have on the other side of an edge."""
    return np.isclose(values, low, rtol=REL) & (low > 0) | np.isclose(values, high, rtol=REL)
