"""Sums over pairs of tokens (t, s), by lag t - s, of what is known of each pair.

B sequences, H heads, S = t + 1 tokens up to an output t.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.kernel.lag_bins import ROWS, SUMS

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


class KernelSums:
    """By bin of `lag_bins.SUMS`, F of them and as many as there are lags.

    kernel, log_decay: (H, F), sums of both over pairs, each pair by what its output stands for.
    weight: (F,), the sum of that alone. pairs: (F,), how many were looked at.
    """

    def __init__(self, heads: int) -> None:
        self.kernel = np.zeros((heads, 0))
        self.log_decay = np.zeros((heads, 0))
        self.weight = np.zeros(0)
        self.pairs = np.zeros(0, np.int64)

    def add(self, pairs: Tensor, weights: Tensor, kernel: Tensor, log_decay: Tensor) -> None:
        """Of one output t: which inputs are counted (B, S), and how far the output is (B,).

        kernel, log_decay: (B, H, S).
        """
        lags = np.arange(pairs.shape[1])
        bins, first = np.unique(SUMS.of(lags), return_index=True)
        self._reach(int(bins[-1]) + 1)
        self.pairs[bins] += np.add.reduceat(_by_lag(pairs.sum(0)), first)
        weighed = torch.where(pairs, weights[:, None], 0.0)
        self.weight[bins] += np.add.reduceat(_by_lag(weighed.sum(0)), first)
        for sums, values in ((self.kernel, kernel), (self.log_decay, log_decay)):
            # What is not counted may be anything: infinity times nothing would be NaN.
            counted = torch.where(pairs[:, None], values.double(), 0.0) * weighed[:, None]
            sums[:, bins] += np.add.reduceat(_by_lag(counted.sum(0)), first, axis=1)

    def merge(self, other: KernelSums) -> None:
        """Add another's sums."""
        bins = len(other.pairs)
        self._reach(bins)
        self.kernel[:, :bins] += other.kernel
        self.log_decay[:, :bins] += other.log_decay
        self.weight[:bins] += other.weight
        self.pairs[:bins] += other.pairs

    def plus(self, other: KernelSums) -> KernelSums:
        """Both together, as sums of their own."""
        found = KernelSums(len(self.kernel))
        found.merge(self)
        found.merge(other)
        return found

    def in_rows(self) -> KernelSums:
        """The same in the bins of the tables."""
        found = KernelSums(len(self.kernel))
        if len(self.pairs):
            places = ROWS.of(SUMS.first(np.arange(len(self.pairs))))
            bins, first = np.unique(places, return_index=True)
            found._reach(int(bins[-1]) + 1)
            for mine, theirs in zip(self._all(), found._all(), strict=True):
                theirs[..., bins] = np.add.reduceat(mine, first, axis=-1)
        return found

    def _all(self) -> tuple[np.ndarray, ...]:
        return self.kernel, self.log_decay, self.weight, self.pairs

    def _reach(self, bins: int) -> None:
        """Have so many bins, or more."""
        more = bins - len(self.pairs)
        if more > 0:
            self.kernel, self.log_decay, self.weight, self.pairs = (
                np.concatenate([sums, np.zeros((*sums.shape[:-1], more), sums.dtype)], -1)
                for sums in self._all()
            )


def _by_lag(by_token: Tensor) -> np.ndarray:
    """Of tokens (..., S) the last first: its lag is none."""
    found: np.ndarray = by_token.flip(-1).cpu().numpy()
    return found


def lag_within(mass: np.ndarray, share: float) -> int | None:
    """The smallest lag up to which this share of the mass (F,) by bin lies; None without mass."""
    upto = mass.cumsum()
    if not len(upto) or not 0 < upto[-1] < np.inf:
        return None
    # A sum that is met exactly must not be missed by rounding.
    bin_ = np.searchsorted(upto, share * upto[-1] * (1 - 1e-12))
    return int(SUMS.last(np.array([bin_]))[0])
