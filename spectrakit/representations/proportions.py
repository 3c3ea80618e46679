"""How sure a proportion is, where observations of one source are not independent.

    p = share of successes;   v = S / (S - 1) sum_s (sum_{i in s} (x_i - p))^2 / n^2
    n' = p (1 - p) / v,       kept between S and n
    Wilson's interval for p with n' observations

n observations x of S sources. n' is the effective sample size (Korn & Graubard 1998 use it with
another interval); where all agree, p is 0 or 1 and n' = S. Wilson's interval has a width there too.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy_import("numpy")

CONFIDENCE = 0.95


def interval(successes: np.ndarray, sources: np.ndarray) -> tuple[float, float]:
    """Both ends of the 95 % interval. successes: (n,) of bool, n > 0. sources: (n,)."""
    share = float(successes.mean())
    size = effective_size(successes, sources)
    z = _quantile()
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * (share * (1 - share) / size + z**2 / (4 * size**2)) ** 0.5
    # It always holds the share itself; not so its rounding, at 0 and 1.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def standard_error(low: float, high: float) -> float:
    """The one whose normal interval is as wide as this 95 % interval."""
    return (high - low) / (2 * _quantile())


def _quantile() -> float:
    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def effective_size(successes: np.ndarray, sources: np.ndarray) -> float:
    """How many independent observations say as much."""
    count = len(successes)
    share = successes.mean()
    _, of = np.unique(sources, return_inverse=True)
    sums = np.bincount(of, successes - share)
    if len(sums) == 1 or not 0 < share < 1:
        return float(len(sums))
    variance = len(sums) / (len(sums) - 1) * float(sums @ sums) / count**2
    if variance == 0:
        return float(count)
    return float(np.clip(share * (1 - share) / variance, len(sums), count))
