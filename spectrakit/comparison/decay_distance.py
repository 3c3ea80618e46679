"""How far two layers' decay rates are from each other: a Wasserstein distance, in decades.

    W_1 = integral |F(x) - G(x)| dx        x = log10(decay rate)

F and G are the distributions of x over the eigenvalues of each layer, with multiplicity: the exact
ones where the run has them, as in weights mode, and those of all tokens, in bins, in data mode.
Ratios are what matters of rates that span many decades: W_1 = 0.3 says that timescales differ by a
factor of two, on average. Eigenvalues that never decay (|lambda| >= 1) and those that are zero have
no such x; their shares stand beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spectrakit.analyses.spectrum.sketch import GROWTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spectrakit.tables.distribution import Distribution


@dataclass(frozen=True)
class DecayDistance:
    """distance: W_1 in decades, None where a layer has no eigenvalue that decays at a finite rate.

    never, gone: shares that never decay and that are zero, of the first layer and of the other.
    """

    distance: float | None
    never: tuple[float, float]
    gone: tuple[float, float]


def decay_distance(one: Distribution, other: Distribution) -> DecayDistance:
    """Between the eigenvalues of two layers; each has some."""
    from scipy.stats import wasserstein_distance

    parts = [_log_rates(layer) for layer in (one, other)]
    distance = None
    if all(len(rates) for rates, _ in parts):
        (x, x_count), (y, y_count) = parts
        distance = float(wasserstein_distance(x, y, x_count, y_count))
    return DecayDistance(
        distance,
        never=(_share(one, one.decay_rate <= 0), _share(other, other.decay_rate <= 0)),
        gone=(
            _share(one, np.isposinf(one.decay_rate)),
            _share(other, np.isposinf(other.decay_rate)),
        ),
    )


def resolution(relative_error: float, *, binned: bool) -> float:
    """Decades by which rates may be off that are known to `relative_error`; inf from 1 on.

    binned: whether they were taken from a histogram, whose bins' middles are a factor of at most
    `GROWTH` from every rate in them, whatever is known of the rates themselves.
    """
    if binned:
        return math.log10(GROWTH)
    return math.log10(1 / (1 - relative_error)) if relative_error < 1 else math.inf


def _log_rates(layer: Distribution) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    finite = (layer.decay_rate > 0) & np.isfinite(layer.decay_rate)
    return np.log10(layer.decay_rate[finite]), layer.count[finite]


def _share(layer: Distribution, chosen: NDArray[np.bool_]) -> float:
    return float(layer.count[chosen].sum() / layer.count.sum())
