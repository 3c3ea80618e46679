"""Sums of |lambda| by group that add up exactly, however large or small moduli are.

A decay rate known to 1 % tells a modulus of 1e11 to a quarter. So moduli are added up as they are
seen, as the logarithm of their sum. Where only the bins of decay rates are known, each is taken at
the middle of its bin, and how far that can be off adds up beside the sum.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Rates that are widened to float64 at once: 8 MiB.
_BLOCK = 1 << 20


class ModulusSums:
    """log of the sum of |lambda|, and how far the sum can be off: (groups,) each."""

    def __init__(self, groups: int) -> None:
        self.log_sum = np.full(groups, -math.inf)
        self.off = np.zeros(groups)

    def add(self, rates: Tensor, multiplicity: int) -> None:
        """Add exp(-r) of decay rates (n, groups), each `multiplicity` times."""
        for rows in rates.split(max(1, _BLOCK // rates.shape[1])):
            log_sum = torch.logsumexp(-rows.double(), 0) + math.log(multiplicity)
            self.log_sum = np.logaddexp(self.log_sum, log_sum.cpu().numpy())

    def add_binned(
        self, lowest: np.ndarray, centre: np.ndarray, highest: np.ndarray, counts: np.ndarray
    ) -> None:
        """Add rates >= 0 that are in bins (n,), so many of them in each group: (groups, n).

        lowest, highest: the rates that may have been counted in a bin.
        """
        most, middle, least = (np.exp(-rate) for rate in (lowest, centre, highest))
        with np.errstate(divide="ignore"):
            self.log_sum = np.logaddexp(self.log_sum, np.log(counts @ middle))
        self.off = self.off + counts @ np.maximum(most - middle, middle - least)

    def merge(self, other: Self) -> None:
        """Add the sums of the same groups."""
        self.log_sum = np.logaddexp(self.log_sum, other.log_sum)
        self.off = self.off + other.off

    def with_total(self) -> ModulusSums:
        """All groups together as the first group, then each."""
        whole = ModulusSums(len(self.off) + 1)
        total = np.logaddexp.reduce(self.log_sum)
        whole.log_sum = np.concatenate([[total], self.log_sum])
        whole.off = np.concatenate([[self.off.sum()], self.off])
        return whole

    def mean(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean of so many each, inf where it is beyond float64, and how far it can be off."""
        with np.errstate(over="ignore"):
            mean: np.ndarray = np.exp(self.log_sum - np.log(counts))
        return mean, self.off / counts
