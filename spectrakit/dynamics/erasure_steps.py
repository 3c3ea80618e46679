"""Transitions of the delta rule as steps: many erasures at once.

An erasure whose beta |k|^2 is 1 to within the rounding of the stored numbers is taken as the
projection that it stands for, which has a singular value of exactly zero.

B batch, T tokens, H heads, N state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.delta_product import DeltaProduct

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.delta import DeltaRule
else:
    torch = lazy_import("torch")

#: Roundings by which beta |k|^2 of a projection may differ from 1: of k, of its length, of beta.
_ROUNDINGS = 8


@dataclass(frozen=True)
class ErasureSteps:
    """I - beta_t k_t k_t^T, many at once as I - K^T T K (see `delta_product`).

    decay: (B, H), summed. beta: (B, T, H), 0 where a token is not valid. key: (B, T, H, N).
    singular: (B, T, H). gain: (B, T, H), the largest singular value.
    """

    longest_block: ClassVar[int] = 64
    decay: Tensor
    beta: Tensor
    key: Tensor
    singular: Tensor
    gain: Tensor

    @classmethod
    def of(cls, operator: DeltaRule, valid: Tensor) -> ErasureSteps:
        """Of the valid tokens (B, T)."""
        there = valid.unsqueeze(-1)
        decay = torch.where(there, operator.log_decay, 0).sum(1, dtype=torch.float64)
        beta = torch.where(there, operator.beta, 0).double()
        key = torch.where(there.unsqueeze(-1), operator.key, 0)
        # A block of tokens at a time: no second copy of all keys.
        squared = torch.cat(
            [k.double().square().sum(-1) for k in key.split(cls.longest_block, 1)], 1
        )
        erased = beta * squared
        singular = (erased - 1).abs() <= rounding(operator.key)
        beta = torch.where(singular, 1 / squared, beta)
        return cls(decay, beta, key, singular, (1 - erased).abs().clamp(min=1))

    @property
    def tokens(self) -> int:
        """T."""
        return self.key.shape[1]

    @property
    def heads(self) -> int:
        """H."""
        return self.key.shape[2]

    @property
    def states(self) -> int:
        """N."""
        return self.key.shape[3]

    def log_factor(self) -> Tensor:
        """See `product_steps.Steps`."""
        return self.decay

    def moved(self, axes: Tensor, begin: int, end: int, *, adjoint: bool) -> tuple[Tensor, float]:
        """See `product_steps.Steps`."""
        beta = self.beta[:, begin:end].transpose(1, 2)
        key = self.key[:, begin:end].double().transpose(1, 2)
        write = DeltaProduct(torch.zeros_like(beta[..., 0]), beta, key).write_keys()
        left, right = (key, write) if adjoint else (write, key)
        longest = float(self.gain[:, begin:end].prod(1).max())
        return axes - left.mT @ (right @ axes), longest

    def cokernel(self, t: int) -> Tensor:
        """See `product_steps.Steps`: the keys that are erased."""
        return (self.singular[:, t].unsqueeze(-1) * self.key[:, t].double()).unsqueeze(-1)


def rounding(stored: Tensor) -> float:
    """What 1 can differ by for the rounding of numbers of this type, half precision included."""
    # Half-precision numbers are coarse, but A_t is computed from them as they are.
    return _ROUNDINGS * min(torch.finfo(t).eps for t in (stored.dtype, torch.float32))
