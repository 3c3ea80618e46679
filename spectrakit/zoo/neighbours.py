"""The nearest neighbours among many distributions on one grid, by Wasserstein distance.

    W_1(F, G) = integral |F(x) - G(x)| dx

is at least the distance of the means. So distributions are put in order of their means, and each
is compared with those after it only while the means are closer than what was found so far: all
that is left out could change nothing. Memory holds the distributions and one block of differences,
never a number for each pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats: TypeAlias = "NDArray[np.float64]"
    Indices: TypeAlias = "NDArray[np.int64]"

_BLOCK = 256
"""Pairs whose differences are in memory at once."""

_ROUNDING = 1e-5
"""Of means of float32, in cells of the grid; a bound that is a little loose loses nothing."""


@dataclass(frozen=True)
class Neighbours:
    """Of n distributions of several kinds.

    nearest, distance: for each (n,) the one of another kind that is nearest, -1 and inf where all
    are of its own; the first of several. pairs: (distance, index, larger index) of different kinds,
    closest first; of each two kinds the two that are closest.
    """

    nearest: Indices
    distance: Floats
    pairs: list[tuple[float, int, int]]


def neighbours(
    below: NDArray[np.float32], cell: float, kinds: Sequence[str], most: int
) -> Neighbours:
    """Find each one's nearest neighbour, and the `most` closest pairs of kinds.

    below: (n, cells), the share of each distribution in all cells up to each. cell: their width,
    the unit of distances. kinds: (n,); two of one kind are no neighbours.
    """
    _, kind = np.unique(np.array(kinds, object).astype(str), return_inverse=True)
    means = -below.sum(1, dtype=np.float64)  # of the cell's number, but for a constant
    found = _Search(below, kind, most)
    if len(np.unique(kind)) > 1:
        found.run(np.argsort(means, kind="stable"), np.sort(means))
    pairs = [(distance * cell, one, other) for distance, one, other in found.pairs]
    return Neighbours(found.nearest, found.distance * cell, pairs)


class _Search:
    """What was found so far, in cells of the grid."""

    def __init__(self, below: NDArray[np.float32], kind: Indices, most: int) -> None:
        self._below, self._kind, self._most = below, kind, most
        self.nearest = np.full(len(below), -1)
        self.distance = np.full(len(below), np.inf)
        self.pairs: list[tuple[float, int, int]] = []

    def run(self, order: Indices, means: Floats) -> None:
        """Look at all pairs that may matter; order: by rising means, which are `means`."""
        for apart in range(1, len(order)):
            gap = means[apart:] - means[:-apart] - _ROUNDING
            one, other = order[:-apart], order[apart:]
            furthest = np.maximum(self.distance[one], self.distance[other])
            near = gap <= np.maximum(furthest, self._furthest_pair)
            if not near.any() and gap.min() > max(self.distance.max(), self._furthest_pair):
                return
            near &= self._kind[one] != self._kind[other]
            self._compare(one[near], other[near])

    @property
    def _furthest_pair(self) -> float:
        """A pair further apart than this is none of the closest."""
        if self._most == 0:
            return -np.inf
        return self.pairs[-1][0] if len(self.pairs) == self._most else np.inf

    def _compare(self, one: Indices, other: Indices) -> None:
        for start in range(0, len(one), _BLOCK):
            a, b = one[start : start + _BLOCK], other[start : start + _BLOCK]
            distance = np.abs(self._below[a] - self._below[b]).sum(1, dtype=np.float64)
            for each, its in ((a, b), (b, a)):  # none is twice in a block
                nearer = distance < self.distance[each]
                nearer |= (distance == self.distance[each]) & (its < self.nearest[each])
                self.distance[each[nearer]] = distance[nearer]
                self.nearest[each[nearer]] = its[nearer]
            self._keep_pairs(distance, np.minimum(a, b), np.maximum(a, b))

    def _keep_pairs(self, distance: Floats, one: Indices, other: Indices) -> None:
        close = np.flatnonzero(distance <= self._furthest_pair)
        close = close[np.lexsort((other[close], one[close], distance[close]))]
        kinds = np.sort([self._kind[one[close]], self._kind[other[close]]], axis=0)
        _, first = np.unique(kinds, axis=1, return_index=True)
        close = close[np.sort(first)][: self._most]
        columns = (values[close].tolist() for values in (distance, one, other))
        closest: dict[frozenset[int], tuple[float, int, int]] = {}
        for pair in sorted([*self.pairs, *zip(*columns, strict=True)]):
            closest.setdefault(frozenset(self._kind[list(pair[1:])].tolist()), pair)
        self.pairs = list(closest.values())[: self._most]
