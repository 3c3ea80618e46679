"""Initial values of a weight, from a generator of its own."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class Draw:
    """Initial values of one weight, (out, in, ...) as torch's layers have it; in float32.

    shape: of the weight. generator: of this weight alone, so that no weight depends on which others
    are drawn.
    """

    shape: tuple[int, ...]
    generator: torch.Generator

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], seed: int) -> Draw:
        """Of the weight called `name`."""
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        number = int.from_bytes(digest[:8], "big") >> 1  # a signed integer, to torch
        return cls(shape, torch.Generator().manual_seed(number))

    def constant(self, value: float) -> Tensor:
        """The same everywhere."""
        return torch.full(self.shape, float(value))

    def normal(self, std: float) -> Tensor:
        """N(0, std^2)."""
        return std * torch.randn(self.shape, generator=self.generator)

    def uniform(self, low: float, high: float) -> Tensor:
        """U(low, high)."""
        return low + (high - low) * torch.rand(self.shape, generator=self.generator)

    def by_inputs(self, gain: float = 1.0) -> Tensor:
        """U(-b, b) with b = gain / sqrt(in ...): what torch's linear layers start from, at gain 1.

        Not of a bias, whose shape does not tell the inputs.
        """
        bound = gain / math.sqrt(math.prod(self.shape[1:]))
        return self.uniform(-bound, bound)

    def by_both(self, gain: float = 1.0) -> Tensor:
        """U(-b, b) with b = gain sqrt(6 / (in + out)): Glorot & Bengio 2010, of a matrix."""
        bound = gain * math.sqrt(6 / sum(self.shape))
        return self.uniform(-bound, bound)

    def orthogonal(self, gain: float = 1.0) -> Tensor:
        """gain times a matrix with orthonormal rows or columns, whichever are fewer."""
        matrix = torch.empty(self.shape)
        return torch.nn.init.orthogonal_(matrix, gain, generator=self.generator)

    def step_bias(self, low: float = 1e-3, high: float = 0.1, floor: float = 1e-4) -> Tensor:
        """The bias at which softplus gives a step: log-uniform in [low, high], `floor` at least."""
        step = self.uniform(math.log(low), math.log(high)).exp().clamp(min=floor)
        return step + (-torch.expm1(-step)).log()
