"""The delta rule: a decay of the whole state, and the erasure of what was stored along one key.

    A_t = exp(log_decay_t) (I - beta_t k_t k_t^T)

DeltaNet (log_decay = 0; Yang et al. 2024, arXiv 2406.06484) and Gated DeltaNet (Yang et al. 2024,
arXiv 2412.06464). A scalar decay commutes: before or after the erasure, A_t is the same. Across k_t
an eigenvalue is exp(log_decay_t), N - 1 times; along k_t it is

    exp(log_decay_t) (1 - beta_t |k_t|^2)

which is negative where beta_t |k_t|^2 > 1. A_t is symmetric: its eigenvalues are also its singular
values, up to sign.

... leading axes as in `operators`, H heads, N state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class DeltaRule:
    """A_t = exp(log_decay_t) (I - beta_t k_t k_t^T).

    log_decay, beta: (..., H). key: (..., H, N), as it enters A_t: normalised by the caller where
    the layer normalises it.
    """

    structure: ClassVar[str] = "delta_rule"
    log_decay: Tensor
    beta: Tensor
    key: Tensor

    @property
    def heads(self) -> int:
        """H."""
        return self.key.shape[-2]

    @property
    def state_size(self) -> int:
        """N."""
        return self.key.shape[-1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """Across the key, N - 1 times, then along it: (..., H, 2); (..., H, 1) where N = 1."""
        erased = self.beta * self.key.square().sum(-1)
        along = self.log_decay + _log_distance_to_one(erased)
        turned = torch.where(erased > 1, math.pi, torch.zeros_like(erased))
        phase = torch.stack([torch.zeros_like(turned), turned], -1)
        log_modulus = torch.stack([self.log_decay.expand_as(along), along], -1)
        # A head of one state has no direction across its key.
        distinct = min(self.state_size, 2)
        return DiscreteEigenvalues(
            log_modulus[..., -distinct:],
            phase[..., -distinct:] if bool((erased > 1).any()) else None,
            (self.state_size - 1, 1)[-distinct:],
        )

    def dense(self) -> Tensor:
        """(..., H, N, N)."""
        identity = torch.eye(self.state_size, dtype=self.key.dtype, device=self.key.device)
        return self.apply(identity)

    def at(self, t: int) -> DeltaRule:
        """The decay, beta and key of token `t`."""
        return DeltaRule(self.log_decay[:, t], self.beta[:, t], self.key[:, t])

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        stored = (self.key.unsqueeze(-2).to(state.dtype) @ state).squeeze(-2)
        change = (self.beta.unsqueeze(-1) * self.key).unsqueeze(-1) * stored.unsqueeze(-2)
        return self.log_decay.exp()[..., None, None] * (state - change)

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        key = self.key.unsqueeze(-3)
        along = (row * key).sum(-1, keepdim=True) * self.beta[..., None, :, None]
        return self.log_decay.exp()[..., None, :, None] * (row - along * key)

    def scaled(self, log_factor: Tensor) -> DeltaRule:
        """exp(log_factor_t) A_t, log_factor (..., H)."""
        return DeltaRule(self.log_decay + log_factor, self.beta, self.key)


def _log_distance_to_one(x: Tensor) -> Tensor:
    """log|1 - x|, with the digits of a small x; -inf at x = 1."""
    # At x >= 1, where log1p has no value, 1 - x is exact up to x = 2.
    return torch.where(x < 1, torch.log1p(-x.clamp(max=1)), (x - 1).clamp(min=0).log())
