"""A decay of the whole state, and a rotation of pairs of its entries.

    A_t = exp(log_decay_t) diag(R(theta_t1)^T, ..., R(theta_tS)^T, 1, ..., 1)

    R(theta) = [cos theta, -sin theta; sin theta, cos theta]

The j-th pair are entries 2j and 2j + 1; entries from 2S on are not rotated. A_t is normal: its
eigenvalues exp(log_decay_t +- i theta_tj) and exp(log_decay_t) have its singular values for moduli.
All A_t commute, and A_t ... A_1 is the A_t of the sums of their log-decays and of their angles.

... leading axes as in `operators`, H heads, N state, S rotated pairs.
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
class RotatedDecay:
    """log_decay: (..., H), log|lambda|. angle: (..., H, S), theta in radians. N: `state_size`."""

    structure: ClassVar[str] = "rotated_decay"
    log_decay: Tensor
    angle: Tensor
    state_size: int

    @property
    def heads(self) -> int:
        """H."""
        return self.log_decay.shape[-1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """Both of every pair, then that of the entries not rotated: (..., H, 2 S or 2 S + 1).

        One of multiplicity N, (..., H, 1), where no angle is anything but zero.
        """
        if not bool(self.angle.any()):
            return DiscreteEigenvalues(self.log_decay.unsqueeze(-1), multiplicity=self.state_size)
        turns = torch.round(self.angle / (2 * math.pi))  # exact for a small angle, unlike fmod
        phase = self.angle - 2 * math.pi * turns
        phase = torch.stack([phase, -phase], -1).flatten(-2)
        multiplicity = (1,) * phase.shape[-1]
        if self._still:
            phase = torch.cat([phase, torch.zeros_like(phase[..., :1])], -1)
            multiplicity += (self._still,)
        log_modulus = self.log_decay.unsqueeze(-1).expand_as(phase)
        return DiscreteEigenvalues(log_modulus, phase, multiplicity)

    def dense(self) -> Tensor:
        """(..., H, N, N)."""
        identity = torch.eye(self.state_size, dtype=self.angle.dtype, device=self.angle.device)
        return self.apply(identity.expand(*self.log_decay.shape, -1, -1))

    def at(self, t: int) -> RotatedDecay:
        """The decays and angles of token `t`."""
        return RotatedDecay(self.log_decay[:, t], self.angle[:, t], self.state_size)

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        turned = rotated(state.transpose(-1, -2), -self.angle.unsqueeze(-2))
        return self.log_decay.exp()[..., None, None] * turned.transpose(-1, -2)

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        return self.log_decay.exp()[..., None, :, None] * rotated(row, self.angle.unsqueeze(-3))

    def scaled(self, log_factor: Tensor) -> RotatedDecay:
        """exp(log_factor_t) A_t, log_factor (..., H)."""
        return RotatedDecay(self.log_decay + log_factor, self.angle, self.state_size)

    @property
    def _still(self) -> int:
        """Entries that are not rotated."""
        return self.state_size - 2 * self.angle.shape[-1]


def rotated(x: Tensor, angle: Tensor) -> Tensor:
    """R(theta_j) on the j-th pair of x's last axis: x (..., N), angle (..., S) with 2 S <= N."""
    pairs = x[..., : 2 * angle.shape[-1]].unflatten(-1, (-1, 2))
    one, other = pairs.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack([cos * one - sin * other, sin * one + cos * other], -1).flatten(-2)
    return torch.cat([turned, x[..., turned.shape[-1] :]], -1)
