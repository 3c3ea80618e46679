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
from spectrakit.analyses.sketch import GROWTH, RELATIVE_ERROR, Bins, DecaySketch
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
    """Summary columns of eigenvalues that are all there."""
    unsorted = eigenvalues.decay_rate.double().flatten().numpy()
    rising = np.argsort(unsorted, kind="stable")
    rates = unsorted[rising]
    each = np.tile(eigenvalues.multiplicities, rates.size // len(eigenvalues.multiplicities))
    # How many eigenvalues come before each position in `rates`, and how many there are.
    before = np.concatenate([[0], np.cumsum(each[rising])])
    total = int(before[-1])
    phase = np.zeros(rates.size) if eigenvalues.phase is None else eigenvalues.phase.double()
    degrees = np.abs(np.degrees(np.asarray(phase))).flatten()
    # Rates fall as moduli rise, so a radius bin (a, b] is a difference of two left insertions.
    below = before[np.searchsorted(rates, _RATE_EDGES, side="left")].astype(float)
    below[0] = total  # [0, .1] holds |lambda| = 0, whose rate is inf
    # The last edge is pi in floating point: it must not fall outside.
    within = [each[degrees <= edge].sum() for edge in PHASE_EDGES[1:-1]]
    phases = np.diff([0, *within, total]) / total
    shares = dict(zip(MODULUS_SHARES, (below[:-1] - below[1:]) / total, strict=True))
    # The smallest rate that at least a share q of the eigenvalues does not exceed.
    needed = np.ceil(np.multiply(QUANTILES, total)).clip(1)
    quantiles = rates[np.searchsorted(before[1:], needed, side="left")]
    shares |= dict(zip(PHASE_SHARES, phases, strict=True))
    return {
        "count": total,
        "spectral_radius": _modulus(float(rates[0])),
        "stable": bool(rates[0] > 0),
        "mean_modulus": float(_moduli(rates) @ each[rising] / total),
        **_discrete_quantiles(quantiles),
        **shares,
        **{bound_name(name): 0.0 for name in shares},
        "relative_error": 0.0,
    }


def summarise_sketch(sketch: DecaySketch) -> dict[str, np.ndarray]:
    """Summary columns of each group of a sketch, with how far each share can be off: (groups,)."""
    bins = sketch.bins()
    rising = np.argsort(bins.centre, kind="stable")
    cumulative = np.cumsum(bins.counts[:, rising], axis=1)
    totals = cumulative[:, -1]
    # The smallest rate that at least a share q of the eigenvalues does not exceed.
    needed = np.ceil(np.multiply.outer(QUANTILES, totals)).clip(1)
    positions = [(cumulative < least[:, None]).sum(1) for least in needed]
    shares = bins.counts / totals[:, None]
    return {
        "count": totals,
        "spectral_radius": np.array([_modulus(rate) for rate in sketch.lowest]),
        "stable": sketch.lowest > 0,
        "mean_modulus": shares @ _moduli(bins.centre),
        **_discrete_quantiles(bins.centre[rising][positions]),
        **_modulus_shares(bins, shares),
        **_phase_shares(bins, shares),
        "relative_error": np.full(sketch.groups, RELATIVE_ERROR),
    }


def summarise_continuous(eigenvalues: ContinuousEigenvalues) -> dict[str, object]:
    """Summary columns of a continuous-time spectrum: no moduli, no timescales in steps."""
    rates = eigenvalues.decay_rate.double().flatten().numpy()
    abscissa = float(-rates.min())
    quantiles = np.quantile(rates, QUANTILES, method="inverted_cdf")
    return {
        "count": len(rates) * eigenvalues.multiplicity,
        "spectral_abscissa": abscissa,
        "stable": abscissa < 0,
        **dict(zip(quantile_names("decay_rate"), quantiles, strict=True)),
        "relative_error": 0.0,
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


def _discrete_quantiles(rates: np.ndarray) -> dict[str, np.ndarray]:
    """Quantile columns from the rates' quantiles, which are the first axis.

    The q-quantile of a falling function of the rate is its (1-q)-quantile. What does not decay
    has an infinite timescale.
    """
    with np.errstate(divide="ignore"):
        timescales = np.where(rates[::-1] > 0, 1 / rates[::-1], math.inf)
    return {
        **dict(zip(quantile_names("decay_rate"), rates, strict=True)),
        **dict(zip(quantile_names("timescale"), timescales, strict=True)),
        **dict(zip(quantile_names("modulus"), _moduli(rates[::-1]), strict=True)),
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
