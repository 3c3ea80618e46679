"""A white signal in place of vectors, along one direction of theirs.

    x_t = m + u_t d        u_t = 1 or -1, as likely and independent, so that <u> = 0 and <u^2> = 1

m is the mean of what stood there on text, d a random direction at a right angle to it, as long as
the vectors are spread around their mean, |d|^2 = <|x - m|^2>; both are then scaled alike, so that
|x_t| is the median length of what stood there. Vectors more than `MASSIVE` times as long as the
median one take no part: a single token of a deep stream may be a hundred times as long as the
others, and would decide both.

As u has two values, so has the length of x_t, which is one: a norm that divides by it takes nothing
of u away, as it would of a signal that comes near zero. The first token of every sequence is one of
the text, the same for all: attention parks weight on it, and would behave otherwise without it.

Without a model, m = 0 and |d|^2 = E: in the mean over its features x has a variance of one.

B sequences, T tokens, E features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: Times the median length from which on a vector is not counted among those that are matched.
MASSIVE = 5.0


def white(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """u, in float64."""
    return 2.0 * torch.randint(0, 2, shape, generator=generator).double() - 1


@dataclass(frozen=True)
class WhiteDrive:
    """Where the signal lies: offset m (E,) and direction d (E,), behind a first token (E,)."""

    offset: Tensor
    direction: Tensor
    first: Tensor

    @classmethod
    def like(cls, seen: Tensor, seed: int) -> WhiteDrive:
        """In place of vectors (tokens, E) of a running model, the first of which begins a text."""
        first, seen = seen[0], seen.float()
        lengths = seen.norm(dim=-1)
        usual = lengths.median()
        seen = seen[lengths <= MASSIVE * usual]
        mean = seen.mean(0)
        spread = (seen - mean).square().sum(-1).mean().sqrt()
        drawn = _direction(len(mean), seed).to(mean)
        across = drawn - (drawn @ mean) * mean / mean.square().sum().clamp(min=1e-24)
        # Of one feature there is none across.
        direction = spread * functional.normalize(across if len(mean) > 1 else drawn, dim=0)
        scale = usual / (mean.square().sum() + spread**2).sqrt().clamp(min=1e-24)
        return cls(scale * mean, scale * direction, first)

    @classmethod
    def standard(cls, width: int, seed: int) -> WhiteDrive:
        """Of E = `width` features that no model has been seen to make, in float64."""
        direction = width**0.5 * _direction(width, seed).double()
        nothing = torch.zeros_like(direction)
        return cls(nothing, direction, nothing)

    def vectors(self, inputs: Tensor, like: Tensor) -> Tensor:
        """x for u (B, T), where and as `like` is stored."""
        u = inputs.to(self.offset).unsqueeze(-1)
        driven = (self.offset + u * self.direction).to(like.dtype)
        driven[:, 0] = self.first
        return driven


def _direction(width: int, seed: int) -> Tensor:
    """A random direction of length one."""
    generator = torch.Generator().manual_seed(seed)
    direction: Tensor = functional.normalize(torch.randn(width, generator=generator), dim=0)
    return direction
