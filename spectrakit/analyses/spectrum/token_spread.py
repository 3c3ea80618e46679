"""How far a layer's decay depends on the token: the spread of its rate, head by head.

Of a head (or channel) at a token, the decay rate is meant that its state has as a whole,

    r_t = -log|det A_t| / N,

the mean over its N eigenvalues, which is there for every A_t, whatever their order. Its logarithm
is looked at, so that slow and fast heads count alike: the standard deviation of log10 r_t over the
tokens is 0 where A does not vary, and 0.3 where rates vary by a factor of two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Rates that are looked at at once: 4 MiB of float32, which stay in the cache.
_BLOCK = 1 << 20


class TokenSpread:
    """Count, mean and squared deviations of log rate, of each of `units` heads or channels.

    Tokens at which a unit keeps or loses all (r = 0, inf) have no logarithm, and are left out.
    """

    def __init__(self, units: int) -> None:
        self._count = np.zeros(units)
        self._mean = np.zeros(units)
        self._squares = np.zeros(units)
        self._grows = np.zeros(units, bool)

    def add(self, rates: Tensor) -> None:
        """Take in decay rates (n, units), in the precision that they come in."""
        for rows in rates.split(max(1, _BLOCK // max(1, rates.shape[1]))):
            if len(rows) == 0:
                continue
            low, high = rows.amin(0), rows.amax(0)
            self._grows |= (low < 0).cpu().numpy()
            if bool((low > 0).all()) and bool(high.isfinite().all()):  # nearly always
                logarithm = rows.log()
                mean = logarithm.mean(0)
                squares = logarithm.sub_(mean).square_().sum(0)
                count = torch.full_like(mean, len(rows))
            else:
                logarithm = rows.log()
                known = logarithm.isfinite()
                count = known.sum(0)
                mean = torch.where(known, logarithm, 0).sum(0) / count.clamp(min=1)
                squares = torch.where(known, logarithm - mean, 0).square().sum(0)
            self._merge(*(each.double().cpu().numpy() for each in (count, mean, squares)))

    def _merge(self, count: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
        """Add those of other tokens (Chan, Golub & LeVeque 1983)."""
        total = self._count + count
        share = count / np.maximum(total, 1)
        apart = mean - self._mean
        self._squares += squares + apart**2 * self._count * share
        self._mean += apart * share
        self._count = total

    def by_unit(self) -> np.ndarray:
        """Of each unit, in decades; NaN where it grows at some token, or has no rate at any."""
        known = (self._count > 0) & ~self._grows
        deviation = np.sqrt(self._squares / np.maximum(self._count, 1)) / math.log(10)
        return np.where(known, deviation, np.nan)

    def of_all(self) -> float:
        """The root of the mean square of the units'; NaN where one of them grows, or none has."""
        known = self._count > 0
        if self._grows.any() or not known.any():
            return float("nan")
        return float(np.sqrt(np.mean(self.by_unit()[known] ** 2)))
