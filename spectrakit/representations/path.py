"""The way of every token through depth: how far it goes in a block, and where it turns.

    u_l = h_l - h_{l-1}                              what block l adds
    cosine to the next layer   cos(h_l, h_{l+1})     arXiv 2510.06640
    path length                sum_{k<=l} ||u_k||    relative: each step over ||h_{k-1}||
    path energy                sum_{k<=l} ||u_k||^2  relative: each step over ||h_{k-1}||^2
    straightness               ||h_l - h_0|| / sum_{k<=l} ||u_k||
    curvature                  the angle between u_l and u_{l+1}

All but the cosine have no published formula there; these are ours. h_0 enters the first block.

B batch, T tokens, E width; what is by token is (B, T) of float64, NaN where a vector without length
has no direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.spread import lengths

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class Step:
    """What block l did to every token.

    update: u_l (B, T, E). norm: ||u_l||. relative_norm: ||u_l|| / ||h_{l-1}||. cosine: of h_{l-1}
    and h_l. turn: cosine of u_{l-1} and u_l; None for the first block.
    """

    update: Tensor
    norm: Tensor
    relative_norm: Tensor
    cosine: Tensor
    turn: Tensor | None


class Path:
    """The tokens of one batch on their way; holds three tensors of their size."""

    def __init__(self, start: Tensor) -> None:
        """`start`: h_0 (B, T, E), which is kept."""
        self._start = self._states = start
        self.norm = lengths(start)
        #: Path length and energy so far, and the same of relative steps.
        self.length, self.energy, self.relative_length, self.relative_energy = torch.zeros(
            4, *self.norm.shape, dtype=torch.float64, device=start.device
        )
        self._last: Step | None = None

    def advance(self, states: Tensor) -> Step:
        """Go on to h_l (B, T, E), which is kept until the next step."""
        update = states - self._states
        norm, before = lengths(states), self.norm
        size = lengths(update)
        last = self._last
        step = Step(
            update,
            size,
            torch.where(before > 0, size / before, torch.nan),
            # By the law of cosines, which spares a pass over the states.
            _cosine((before.square() + norm.square() - size.square()) / 2, before * norm),
            None if last is None else _cosine(_dot(last.update, update), last.norm * size),
        )
        self.length = self.length + size
        self.energy = self.energy + size.square()
        self.relative_length = self.relative_length + step.relative_norm
        self.relative_energy = self.relative_energy + step.relative_norm.square()
        self._states, self.norm, self._last = states, norm, step
        return step

    def straightness(self) -> Tensor:
        """||h_l - h_0|| over the path length: 1 on a straight line; NaN for a token at rest."""
        distance = lengths(self._states - self._start)
        return torch.where(self.length > 0, distance / self.length, torch.nan)


def angle(cosine: Tensor) -> Tensor:
    """The angle of that cosine, in degrees."""
    return torch.rad2deg(torch.arccos(cosine))


def _dot(x: Tensor, y: Tensor) -> Tensor:
    products: Tensor = torch.linalg.vecdot(x, y)
    return products.double()


def _cosine(dot: Tensor, norms: Tensor) -> Tensor:
    """Of vectors, from their products and those of their norms."""
    return torch.where(norms > 0, (dot / norms).clamp(-1, 1), torch.nan)
