"""Kernels between tokens: which entries of a Gram matrix HSIC is taken of.

    linear:  K_ij = (x_i - c) . (x_j - c)           c any centre: HSIC does not change with it
    rbf:     K_ij = exp(-|x_i - x_j|^2 / (2 s^2))   s a fraction of the median distance of tokens

Kornblith et al. 2019, section 3, take the same bandwidths (fractions .2 to .8 of the median).
G feature sets of one width E at a time, I and J tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

_MEDIAN_OF = 256


def robust_centre(features: Tensor) -> Tensor:
    """A point among tokens (n, E) that a few huge ones do not move: (E,) of float64.

    The median of each coordinate over the first 256, which should be random ones, or all. Around
    the mean, one token R times longer than n others puts R / n of itself into all of them, and
    products of theirs lose those digits.
    """
    found: Tensor = features[:_MEDIAN_OF].median(0).values
    return found.double()


class Kernel(Protocol):
    """Makes Gram matrices tile by tile."""

    def __call__(self, rows: Tensor, columns: Tensor, sets: Sequence[int]) -> Tensor:
        """Entries (G, I, J) between centred tokens (G, I, E) and (G, J, E) of these sets."""


@dataclass(frozen=True)
class Linear:
    """Inner products."""

    def __call__(self, rows: Tensor, columns: Tensor, sets: Sequence[int]) -> Tensor:  # noqa: ARG002
        """See `Kernel`."""
        return rows @ columns.mT


@dataclass(frozen=True)
class RBF:
    """exp(-distance^2 / (2 bandwidth^2)), with a bandwidth for every feature set."""

    bandwidths: Sequence[float]

    def __call__(self, rows: Tensor, columns: Tensor, sets: Sequence[int]) -> Tensor:
        """See `Kernel`."""
        factors = rows.new_tensor([-0.5 / self.bandwidths[index] ** 2 for index in sets])
        return squared_distances(rows, columns).mul_(factors[:, None, None]).exp_()

    @classmethod
    def of_medians(cls, features: Sequence[Tensor], fraction: float) -> RBF:
        """With a `fraction` of the median distance between two tokens of each set (n, E).

        The median is of the first 256 tokens, which should be random ones. Where it is 0 (most
        tokens are the same) the bandwidth is infinite, and K is constant.
        """
        medians = [_median_distance(own[:_MEDIAN_OF]) for own in features]
        return cls([fraction * median if median > 0 else math.inf for median in medians])


def _median_distance(features: Tensor) -> float:
    centred = features.double() - robust_centre(features)
    apart = squared_distances(centred, centred)
    above = apart[torch.ones_like(apart, dtype=torch.bool).triu(1)]
    return math.sqrt(float(above.median()))


def squared_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """|x_i - y_j|^2 (..., I, J), never below 0."""
    squares = rows.square().sum(-1, keepdim=True) + columns.square().sum(-1).unsqueeze(-2)
    return squares.sub_(2 * (rows @ columns.mT)).clamp_(min=0)
