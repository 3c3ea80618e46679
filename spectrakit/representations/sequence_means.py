"""Means over sequences, weighted by their tokens, with a standard error; added up without loss.

    mean = sum_b w_b x_b / sum_b w_b        error^2 = sum_b w_b (x_b - mean)^2 / (sum_b w_b (S - 1))

x_b is the mean of sequence b over its w_b tokens; S sequences. The error treats sequences as
independent, not tokens. Sums of squares are kept around the mean (Chan, Golub & LeVeque 1983), so
that neither many batches nor their order cost digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy_import("numpy")


class SequenceMeans:
    """Means of as many quantities as the arrays of its shape have entries."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.weight = np.zeros(shape)
        self.sequences = np.zeros(shape, np.int64)
        self._mean = np.zeros(shape)
        self._scatter = np.zeros(shape)

    def add(self, values: np.ndarray, weights: np.ndarray) -> None:
        """Take in sequences, values and weights (B, *shape); NaN and weight 0 are not counted."""
        weights = np.where(np.isnan(values), 0.0, weights)
        values = np.where(weights > 0, values, 0.0)
        weight = weights.sum(0)
        mean = _over((weights * values).sum(0), weight)
        scatter = (weights * (values - mean) ** 2).sum(0)
        self._take_in(weight, mean, scatter, (weights > 0).sum(0))

    @property
    def mean(self) -> np.ndarray:
        """The means; NaN where nothing was counted."""
        return np.where(self.weight > 0, self._mean, np.nan)

    @property
    def standard_error(self) -> np.ndarray:
        """Of the means; NaN where fewer than two sequences were counted."""
        enough = self.sequences > 1
        variance = _over(self._scatter, self.weight * (self.sequences - 1))
        return np.where(enough, np.sqrt(variance), np.nan)

    def _take_in(
        self, weight: np.ndarray, mean: np.ndarray, scatter: np.ndarray, sequences: np.ndarray
    ) -> None:
        total = self.weight + weight
        apart = mean - self._mean
        share = _over(weight, total)
        self._scatter += scatter + apart**2 * self.weight * share
        self._mean += apart * share
        self.weight = total
        self.sequences = self.sequences + sequences


def _over(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Their ratio, 0 where there is nothing to divide by."""
    found: np.ndarray = numerator / np.where(denominator == 0, 1.0, denominator)
    return found
