"""Orthogonal Procrustes distance: how far two sets of features stay apart when one may be rotated.

    d(X, Y) = min_Q |X' - Y' Q|_F,  X' = X_c / |X_c|_F,  Y' likewise, Q orthogonal
            = sqrt(2 - 2 |X'^T Y'|_*)                  |.|_* sum of the singular values

X_c is X with its mean taken off; the narrower set is padded with zeros (Schonemann 1966; Ding et
al. 2021, who report d^2; Williams et al. 2021 for why it is a metric). It lies in [0, sqrt 2].

As with CKA's biased estimate, independent features come closer as width over tokens grows. There is
no closed form of its permutation null, so permutations are drawn where they are asked for.

n tokens, E width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

_BLOCK = 1024


def procrustes_distance(x: Tensor, y: Tensor) -> float:
    """The distance between features (n, E) and (n, E') of the same tokens."""
    return _Pair(x, y).distance()


def procrustes_null(x: Tensor, y: Tensor, permutations: int, seed: int) -> Tensor:
    """The distances (permutations,) to y with its tokens permuted."""
    pair = _Pair(x, y)
    drawn = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(y), generator=drawn).to(y.device) for _ in range(permutations)]
    return torch.tensor([pair.distance(order) for order in orders], dtype=torch.float64)


class _Pair:
    """Two sets of features with their means and norms."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._x, self._y = x, y
        self._means = [own.mean(0, dtype=torch.float64) for own in (x, y)]
        self._norms = [
            sum(float((part - mean).square().sum()) for part in own.split(_BLOCK)) ** 0.5
            for own, mean in zip((x, y), self._means, strict=True)
        ]

    def distance(self, order: Tensor | None = None) -> float:
        """With the tokens of y in this order."""
        product: Tensor | float = 0.0
        for start in range(0, len(self._x), _BLOCK):
            part = slice(start, start + _BLOCK)
            others = self._y[part] if order is None else self._y[order[part]]
            product = product + (self._x[part] - self._means[0]).mT @ (others - self._means[1])
        common = float(torch.linalg.svdvals(product).sum()) / (self._norms[0] * self._norms[1])
        return math.sqrt(max(0.0, 2 - 2 * common))
