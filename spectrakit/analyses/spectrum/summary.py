"""Summaries of a spectrum: radius, quantiles and bin shares, exact or from a sketch.

The bins are those of arXiv 2510.09379 (radius .1, .5, .9, 1, 10, 100; phase 1, 10, 45, 90, 180
degrees), closed on the right so that no eigenvalue is counted twice and |lambda| = 1 is memory,
not growth.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.spectrum.sketch import GROWTH, RELATIVE_ERROR, Bins, DecaySketch
from spectrakit.tables.schemas import (
    MODULUS_SHARES,
    PHASE_EDGES,
    PHASE_SHARES,
    QUANTILES,
    RADIUS_EDGES,
    bound_name,
    quantile_names,
)

if TYPE_CHECKING:
    import numpy as np

    from spectrakit.dynamics import ContinuousEigenvalues, DiscreteEigenvalues
else:
    np = lazy_import("numpy")

_LARGEST_EXPONENT = 709.0

#: The radius bins as decay rates: |lambda| in (a, b] is a rate in [-log b, -log a).
_RATE_EDGES = tuple(math.inf if edge == 0 else -math.log(edge) for edge in RADIUS_EDGES)


def summarise_exactly(eigenvalues: DiscreteEigenvalues) -> dict[str, object]:
    """Summary columns of eigenvalues that are all there.

    Shares are exact but for eigenvalues whose own error bound reaches into another bin.
    """
    rates = eigenvalues.decay_rate.double().flatten().numpy()
    copies = np.tile(eigenvalues.multiplicities, rates.size // len(eigenvalues.multiplicities))
    total = int(copies.sum())
    phase = np.zeros(rates.size) if eigenvalues.phase is None else eigenvalues.phase.double()
    degrees = np.abs(np.degrees(np.asarray(phase))).flatten()
    error = np.zeros(rates.size)
    if eigenvalues.error_bound is not None:
        error = eigenvalues.error_bound.double().flatten().numpy()
    rising = np.argsort(rates)
    # The smallest rate that at least a share q of the eigenvalues does not exceed.
    needed = np.ceil(np.multiply(QUANTILES, total)).clip(1)
    quantiles = [
        rates[order][np.searchsorted(np.cumsum(copies[order]), needed, side="left")]
        for order in (rising, rising[::-1])
    ]
    unsure = np.flatnonzero(error)
    turn, slower, faster = _reach_of_errors(rates[unsure], error[unsure])
    radius = _modulus(float(rates.min()))
    return {
        "count": total,
        "spectral_radius": radius,
        "spectral_radius_bound": _bound_of_largest(_moduli(rates), error),
        "stable": bool(rates.min() > 0),
        "mean_modulus": float(_mean_modulus(rates, copies / total)),
        "mean_modulus_bound": float(error @ copies / total),
        **_discrete_quantiles(*quantiles),
        **_exact_modulus_shares(rates, copies, unsure, slower, faster),
        **_exact_phase_shares(degrees, copies, unsure, turn),
        "relative_error": _relative_error(rates[unsure], slower, faster),
    }


def _exact_modulus_shares(
    rates: np.ndarray,
    copies: np.ndarray,
    unsure: np.ndarray,
    slower: np.ndarray,
    faster: np.ndarray,
) -> dict[str, float]:
    """Share and bound of each radius bin; slower, faster: how far the rates of `unsure` reach."""
    shares: dict[str, float] = {}
    for name, (upper, lower) in zip(MODULUS_SHARES, pairwise(_RATE_EDGES), strict=True):
        inside = _within(rates, lower, upper)
        surely = _within(slower, lower, upper) & _within(faster, lower, upper)
        possibly = (faster >= lower) & (slower < upper)
        shares |= _share(name, inside, surely, possibly, unsure, copies)
    return shares


def _exact_phase_shares(
    degrees: np.ndarray, copies: np.ndarray, unsure: np.ndarray, turn: np.ndarray
) -> dict[str, float]:
    """Share and bound of each phase bin; turn: by how much the phases of `unsure` can be off."""
    shares: dict[str, float] = {}
    less, more = degrees[unsure] - turn, degrees[unsure] + turn
    for name, (low, high) in zip(PHASE_SHARES, pairwise(PHASE_EDGES), strict=True):
        inside = _phase_within(degrees, low, high)
        surely = _phase_within(less, low, high) & _phase_within(more, low, high)
        possibly = (more > low) & (less <= high)
        shares |= _share(name, inside, surely, possibly, unsure, copies)
    return shares


def _share(
    name: str,
    inside: np.ndarray,
    surely: np.ndarray,
    possibly: np.ndarray,
    unsure: np.ndarray,
    copies: np.ndarray,
) -> dict[str, float]:
    """The share inside a bin, and how far it can be off.

    inside, copies: of every eigenvalue. surely, possibly: of those that errors may move, `unsure`.
    """
    total, here, moving = copies.sum(), inside[unsure], copies[unsure]
    fewer, more = moving[here & ~surely].sum(), moving[~here & possibly].sum()
    return {name: copies[inside].sum() / total, bound_name(name): max(fewer, more) / total}


def _reach_of_errors(
    rates: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far phases (degrees) can be off, and the smallest and largest rates there can be."""
    modulus = _moduli(rates)
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = np.degrees(np.arcsin(np.clip(error / modulus, 0, 1)))
        slower, faster = -np.log(modulus + error), -np.log((modulus - error).clip(0))
    return np.where(error < modulus, turn, 180), slower, faster


def _phase_within(degrees: np.ndarray, low: float, high: float) -> np.ndarray:
    # The last edge is pi in floating point: it must not fall outside.
    above: np.ndarray = (degrees > low) | (low == 0)
    return above & ((degrees <= high) | (high == PHASE_EDGES[-1]))


def _relative_error(rates: np.ndarray, slower: np.ndarray, faster: np.ndarray) -> float:
    """The largest of any decay rate; inf where one may be zero, infinite or of the other sign."""
    off = (slower != rates) | (faster != rates)
    if not off.any():
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.maximum(faster[off] - rates[off], rates[off] - slower[off]) / np.abs(rates[off])
    largest = float(np.nan_to_num(reach, nan=math.inf, posinf=math.inf).max())
    return largest if largest < 1 else math.inf


def summarise_sketch(sketch: DecaySketch) -> dict[str, object]:
    """Summary columns of each group of a sketch, with how far each share can be off: (groups,)."""
    bins = sketch.bins()
    rising = np.argsort(bins.centre, kind="stable")
    totals = bins.counts.sum(1)
    # The smallest rate that at least a share q of the eigenvalues does not exceed.
    needed = np.ceil(np.multiply.outer(QUANTILES, totals)).clip(1)
    quantiles = []
    for order in (rising, rising[::-1]):
        cumulative = np.cumsum(bins.counts[:, order], axis=1)
        positions = [(cumulative < least[:, None]).sum(1) for least in needed]
        quantiles.append(bins.centre[order][positions])
    shares = bins.counts / totals[:, None]
    mean, mean_bound = sketch.moduli.mean(totals)
    return {
        "count": totals,
        "spectral_radius": np.array([_modulus(rate) for rate in sketch.lowest]),
        "spectral_radius_bound": np.zeros(sketch.groups),
        # Growth at some tokens does not make a time-varying system unstable: that is not known.
        "stable": [True if lowest > 0 else None for lowest in sketch.lowest],
        "mean_modulus": mean,
        "mean_modulus_bound": mean_bound,
        **_discrete_quantiles(*quantiles),
        **_modulus_shares(bins, shares),
        **_phase_shares(bins, shares),
        "relative_error": np.full(sketch.groups, RELATIVE_ERROR),
    }


def summarise_continuous(eigenvalues: ContinuousEigenvalues) -> dict[str, object]:
    """Summary columns of a continuous-time spectrum: no moduli, no timescales in steps."""
    rates = eigenvalues.decay_rate.double().flatten().numpy()
    abscissa = float(-rates.min())
    quantiles = np.quantile(rates, QUANTILES, method="inverted_cdf")
    error = np.zeros(rates.size)
    if eigenvalues.error_bound is not None:
        error = eigenvalues.error_bound.double().flatten().numpy()
    unsure = np.flatnonzero(error)
    reach = rates[unsure] - error[unsure], rates[unsure] + error[unsure]
    return {
        "count": len(rates) * eigenvalues.multiplicity,
        "spectral_abscissa": abscissa,
        "spectral_abscissa_bound": _bound_of_largest(-rates, error),
        "stable": abscissa < 0,
        **dict(zip(quantile_names("decay_rate"), quantiles, strict=True)),
        "relative_error": _relative_error(rates[unsure], *reach),
    }


def histogram_columns(sketch: DecaySketch) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The group of each row, and the `spectrum_histogram` columns: the bins that are not empty."""
    bins = sketch.bins()
    group, position = np.nonzero(bins.counts)
    return group, {
        "decay_rate_low": bins.low[position],
        "decay_rate_high": bins.high[position],
        "phase_low_deg": bins.phase_low[position],
        "phase_high_deg": bins.phase_high[position],
        "count": bins.counts[group, position],
    }


def _modulus(rate: float) -> float:
    """|lambda| of a decay rate; inf where it is beyond float64."""
    return math.exp(-rate) if rate > -_LARGEST_EXPONENT else math.inf


def _moduli(rates: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        moduli: np.ndarray = np.exp(-rates)
    return moduli


def _bound_of_largest(values: np.ndarray, error: np.ndarray) -> float:
    """How far the largest of values that can be off by so much can be off."""
    if not error.any():
        return 0.0
    largest = values.max()
    return float(max((values + error).max() - largest, largest - (values - error).max()))


def _mean_modulus(rates: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mean |lambda| over the last axis; inf where a share of it is beyond float64."""
    with np.errstate(invalid="ignore", over="ignore"):
        # A modulus of inf that nothing has is not counted: inf times zero is no number.
        mean: np.ndarray = np.where(shares > 0, shares * _moduli(rates), 0).sum(-1)
    return mean


def _discrete_quantiles(rising: np.ndarray, falling: np.ndarray) -> dict[str, np.ndarray]:
    """Quantile columns from the rates' quantiles, which are the first axis.

    rising: the smallest rate that a share q does not exceed. falling: the largest rate that a share
    q does not fall below, which has the q-quantile of what falls as the rate rises: modulus and
    timescale. What does not decay has an infinite timescale.
    """
    with np.errstate(divide="ignore"):
        timescales = np.where(falling > 0, 1 / falling, math.inf)
    return {
        **dict(zip(quantile_names("decay_rate"), rising, strict=True)),
        **dict(zip(quantile_names("timescale"), timescales, strict=True)),
        **dict(zip(quantile_names("modulus"), _moduli(falling), strict=True)),
    }


def _modulus_shares(bins: Bins, counted: np.ndarray) -> dict[str, np.ndarray]:
    """Shares per radius bin; a bin within 1 % of an edge may belong on its other side."""
    shares: dict[str, np.ndarray] = {}
    low, high = _reach(bins)
    for name, (upper, lower) in zip(MODULUS_SHARES, pairwise(_RATE_EDGES), strict=True):
        inside = _within(bins.centre, lower, upper)
        surely = inside & (low >= lower) & (high <= upper)
        possibly = (high > lower) & (low < upper) | inside
        share = counted @ inside
        shares[name] = share
        shares[bound_name(name)] = np.maximum(
            counted @ possibly - share, share - counted @ surely
        ).clip(0)  # not -1e-17
    return shares


def _within(rates: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Rates in [lower, upper); |lambda| = 0, whose rate is inf, is in the bin up to inf."""
    inside: np.ndarray = (rates >= lower) & (rates < upper)
    return inside | (rates == math.inf) if upper == math.inf else inside


def _reach(bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    """The rates that may have been counted in each bin: half a bin beyond it on either side."""
    exact = bins.low == bins.high
    outward = np.where(exact, 1, math.sqrt(GROWTH) ** np.sign(bins.high))
    return bins.low / outward, bins.high * outward


def _phase_shares(bins: Bins, counted: np.ndarray) -> dict[str, np.ndarray]:
    """Shares per phase bin: exact, because the sketch's own phase bins nest in them."""
    largest = np.maximum(np.abs(bins.phase_low), np.abs(bins.phase_high))
    shares: dict[str, np.ndarray] = {}
    for name, (low, high) in zip(PHASE_SHARES, pairwise(PHASE_EDGES), strict=True):
        inside = (largest <= high) & ((largest > low) | (low == 0))
        shares[name] = counted @ inside
        shares[bound_name(name)] = np.zeros(len(counted))
    return shares
