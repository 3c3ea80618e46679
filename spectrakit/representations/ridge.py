"""Ridge regressions of several targets, for all ridges at once, from sums over samples.

    w = (C + r I)^{-1} c        C: correlation of the features, c: with the target, r: the ridge

In the eigenbasis of C, C = V diag(v) V^T, w is V diag(1 / (v + r)) V^T c for every r, and the error
on other samples a quadratic form of it.

N features, D targets, R ridges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Relative to a standardised feature's variance; an infinite one predicts the mean.
RIDGES = (*(10.0**power for power in range(-10, 5)), float("inf"))
#: Of the square of a feature's mean: less variance than this is float32's rounding of a constant.
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Samples:
    """Means of x (N,) and y (D,), and sums of products around them: of x x^T, x y^T and y^2.

    Around the means, so that nothing cancels where a feature hardly varies.
    """

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Samples:
        """x: (n, N), y: (n, D)."""
        mean, middle = x.mean(0), y.mean(0)
        x, y = x - mean, y - middle
        return cls(len(x), mean, middle, x.T @ x, x.T @ y, y.square().sum(0))

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """Of all of them."""
        return reduce(cls.plus, parts)

    def plus(self, other: Samples) -> Samples:
        """Of both (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        x, y = other.x - self.x, other.y - self.y
        share = self.count * other.count / count
        return Samples(
            count,
            self.x + x * (other.count / count),
            self.y + y * (other.count / count),
            self.xx + other.xx + share * torch.outer(x, x),
            self.xy + other.xy + share * torch.outer(x, y),
            self.yy + other.yy + share * y.square(),
        )

    @property
    def features(self) -> int:
        """N."""
        return len(self.x)


@dataclass(frozen=True)
class Ridge:
    """The regressions of one set of samples.

    mean: of the samples, x (N,) and y (D,). basis: (N, N), of standardised features, V with every
    row divided by its feature's standard deviation. values: v (N,). cross: V^T c (N, D).
    """

    x: Tensor
    y: Tensor
    basis: Tensor
    values: Tensor
    cross: Tensor

    @classmethod
    def of(cls, samples: Samples) -> Ridge:
        """Fitted to these samples; features that do not vary are left out."""
        variance = samples.xx.diagonal() / samples.count
        varies = variance > _ROUNDING * samples.x.square()
        scale = torch.where(varies, variance.clamp(min=1e-300).rsqrt(), 0.0)
        correlation = scale[:, None] * (samples.xx / samples.count) * scale
        values, vectors = torch.linalg.eigh(correlation)
        basis = scale[:, None] * vectors
        cross = basis.T @ samples.xy / samples.count
        return cls(samples.x, samples.y, basis, values.clamp(min=0), cross)

    def errors(self, samples: Samples) -> Tensor:
        """Sum of squared errors on these samples, for every ridge: (R, D)."""
        products, cross = self.basis.T @ samples.xx @ self.basis, self.basis.T @ samples.xy
        moved = (samples.x - self.x) @ self.basis
        offset = samples.y - self.y
        found = []
        for ridge in RIDGES:
            weights = self.cross / (self.values + ridge).unsqueeze(-1)
            explained = 2 * (weights * cross).sum(0) - (weights * (products @ weights)).sum(0)
            missed = samples.count * (offset - moved @ weights).square()
            found.append(samples.yy - explained + missed)
        return torch.stack(found)

    def dimension(self) -> Tensor:
        """Features that count, the trace of the projection on them: (R,)."""
        return self._shares().sum(-1)

    def lost(self) -> Tensor:
        """Features' worth of noise that the read-out has learned, the trace of its square: (R,)."""
        return self._shares().square().sum(-1)

    def _shares(self) -> Tensor:
        ridges = self.values.new_tensor(RIDGES).unsqueeze(-1)
        shares: Tensor = self.values / (self.values + ridges)
        return shares
