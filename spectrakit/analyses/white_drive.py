"""A white signal in place of vectors, along one direction of theirs.

    x_t = m + u_t d        u_t uniform on [-sqrt 3, sqrt 3], so that <u> = 0 and <u^2> = 1

    residual stream    m = s e_0, d = s g e_1: e_0 is the direction of the mean of what was there
                       and e_1 a random one at a right angle to it, s the root mean square length.
                       That keeps a norm that divides by the length from taking u_t away.
    a mixer's input    m is the mean of what the model hands it, d a random direction as long as
                       that is spread around its mean, |d|^2 = <|x - m|^2>
    without a model    m = 0 and |d|^2 = E: in the mean over its features x has a variance of one

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

#: g: how far the signal moves the stream, over its length.
_GAIN = 0.5


def white(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """u, in float64."""
    drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (2 * drawn - 1) * 3**0.5


@dataclass(frozen=True)
class WhiteDrive:
    """Where the signal lies: offset m (E,) and direction d (E,)."""

    offset: Tensor
    direction: Tensor

    @classmethod
    def of_stream(cls, states: Tensor, seed: int) -> WhiteDrive:
        """In place of the residual stream (tokens, E)."""
        states = states.float()
        length = states.square().sum(-1).mean().sqrt()
        mean = states.mean(0)
        offset = mean / mean.norm().clamp(min=1e-12)
        drawn = _direction(len(mean), seed).to(offset)
        across = drawn - (drawn @ offset) * offset
        return cls(length * offset, _GAIN * length * across / across.norm())

    @classmethod
    def of_mixer(cls, hidden: Tensor, seed: int) -> WhiteDrive:
        """In place of what a mixer is handed (tokens, E)."""
        hidden = hidden.float()
        offset = hidden.mean(0)
        spread = (hidden - offset).square().sum(-1).mean().sqrt()
        return cls(offset, spread * _direction(len(offset), seed).to(offset))

    @classmethod
    def standard(cls, width: int, seed: int) -> WhiteDrive:
        """Of E = `width` features that no model has been seen to make, in float64."""
        direction = width**0.5 * _direction(width, seed).double()
        return cls(torch.zeros_like(direction), direction)

    def vectors(self, inputs: Tensor, like: Tensor) -> Tensor:
        """x for u (B, T), where and as `like` is stored."""
        u = inputs.to(self.offset).unsqueeze(-1)
        return (self.offset + u * self.direction).to(like.dtype)


def _direction(width: int, seed: int) -> Tensor:
    """A random direction of length one."""
    generator = torch.Generator().manual_seed(seed)
    direction: Tensor = functional.normalize(torch.randn(width, generator=generator), dim=0)
    return direction
