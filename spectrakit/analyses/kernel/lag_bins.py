"""Bins of lags, of two widths: those of the tables, and those that sums are kept in.

A lag up to 16 has a row of its own in the tables, and beyond there are eight rows to a doubling.
Sums are kept at every lag below 1,024, and beyond in 64 bins to a doubling: fine enough to say
within which lag half of a sum lies, and every row of the tables is made of whole bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy_import("numpy")


@dataclass(frozen=True)
class LagBins:
    """One bin to each lag below `single`, a power of two; `per_octave` to a doubling from there."""

    single: int
    per_octave: int

    def of(self, lags: np.ndarray) -> np.ndarray:
        """The bin of each lag."""
        # From the edges themselves: logarithms may round to the other side of one.
        edges = self.first(np.arange(self._count(int(lags.max(initial=0)))))
        found: np.ndarray = np.searchsorted(edges, lags, side="right") - 1
        return found

    def first(self, bins: np.ndarray) -> np.ndarray:
        """The smallest lag of each bin."""
        octaves = (np.maximum(bins, self.single) - self.single) / self.per_octave
        edge = np.ceil(self.single * 2.0**octaves - 1e-9)
        found: np.ndarray = np.where(bins < self.single, bins, edge).astype(np.int64)
        return found

    def last(self, bins: np.ndarray) -> np.ndarray:
        """The largest lag of each bin."""
        return self.first(bins + 1) - 1

    def _count(self, lag: int) -> int:
        """Bins that hold every lag up to this one, and perhaps some more."""
        octaves = max(0, lag // self.single).bit_length()
        return self.single + self.per_octave * octaves + 1


ROWS = LagBins(16, 8)
"""Those of the tables."""

SUMS = LagBins(1024, 64)
"""Those that sums are kept in."""
