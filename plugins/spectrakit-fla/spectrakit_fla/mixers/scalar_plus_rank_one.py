"""A decay of the whole state, less a matrix of rank one that has not decayed.

    A_t = exp(log_decay_t) I - left_t right_t^T

In the delta rule, which is e^g (I - beta k k^T), a key is erased from what is left of the state;
here from all of it. Across the two vectors an eigenvalue is exp(log_decay_t), N - 1 times;
the other one is

    exp(log_decay_t) - right_t^T left_t

which is negative where more is erased than is left.

... leading axes as in `spectrakit.dynamics.operators`, H heads, N state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
from spectrakit.dynamics.operator_parts import (
    heads_of,
    heads_of_each_tensor,
    sequence_of,
    sequence_of_each_tensor,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class ScalarPlusRankOne:
    """A_t = exp(log_decay_t) I - left_t right_t^T: log_decay (..., H), left, right (..., H, N)."""

    structure: ClassVar[str] = "scalar_plus_rank_one"
    log_decay: Tensor
    left: Tensor
    right: Tensor

    @property
    def heads(self) -> int:
        """H."""
        return self.left.shape[-2]

    @property
    def state_size(self) -> int:
        """N."""
        return self.left.shape[-1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """Across the vectors, N - 1 times, then the other: (..., H, 2); (..., H, 1) where N = 1."""
        decay, erased = self.log_decay.exp(), (self.left * self.right).sum(-1)
        beyond = erased > decay
        # With the digits of what is erased where that is little, and no division by a decay of 0.
        share = torch.where(erased < decay, erased / decay, 0)
        log_left = torch.where(
            erased < decay, self.log_decay + torch.log1p(-share), (erased - decay).log()
        )
        turned = torch.where(beyond, math.pi, torch.zeros_like(decay))
        phase = torch.stack([torch.zeros_like(turned), turned], -1)
        log_modulus = torch.stack([self.log_decay, log_left], -1)
        # A head of one state has no direction across its vectors.
        distinct = min(self.state_size, 2)
        return DiscreteEigenvalues(
            log_modulus[..., -distinct:],
            phase[..., -distinct:] if bool(beyond.any()) else None,
            (self.state_size - 1, 1)[-distinct:],
        )

    def dense(self) -> Tensor:
        """(..., H, N, N)."""
        identity = torch.eye(self.state_size, dtype=self.left.dtype, device=self.left.device)
        return self.apply(identity)

    def at(self, t: int) -> ScalarPlusRankOne:
        """The decay and the vectors of token `t`."""
        return ScalarPlusRankOne(self.log_decay[:, t], self.left[:, t], self.right[:, t])

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        stored = self.right.unsqueeze(-2).to(state.dtype) @ state
        return self.log_decay.exp()[..., None, None] * state - self.left.unsqueeze(-1) * stored

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        along = (row * self.left.unsqueeze(-3)).sum(-1, keepdim=True)
        return row * self.log_decay.exp()[..., None, :, None] - along * self.right.unsqueeze(-3)

    def scaled(self, log_factor: Tensor) -> ScalarPlusRankOne:
        """exp(log_factor_t) A_t, log_factor (..., H)."""
        left = log_factor.exp().unsqueeze(-1) * self.left
        return ScalarPlusRankOne(self.log_decay + log_factor, left, self.right)


heads_of.register(ScalarPlusRankOne, heads_of_each_tensor)
sequence_of.register(ScalarPlusRankOne, sequence_of_each_tensor)
