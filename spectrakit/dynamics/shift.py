"""A short causal convolution as a recurrence: the state is the last N inputs.

    h_t = A h_{t-1} + e_1 u_t        A e_n = e_{n+1},  A e_N = 0

y_t is read from h_t, which holds the present input too, so a convolution over K tokens has N = K.
A is nilpotent: every eigenvalue is exactly zero, although an input stays for N steps. Its memory
ends, it does not decay.

H heads (channels do not interact), N state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
from spectrakit.dynamics.operators import Dense

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class ShiftRegister:
    """A moves every state entry on by one; it does not depend on the input.

    `heads` H and `state_size` N. Its dense form is in torch's default dtype, on the CPU.
    """

    structure: ClassVar[str] = "shift_register"
    heads: int
    state_size: int

    def eigenvalues(self) -> DiscreteEigenvalues:
        """Zero, N times: (H, 1)."""
        return DiscreteEigenvalues(
            torch.full((self.heads, 1), -math.inf), multiplicity=self.state_size
        )

    def dense(self) -> Tensor:
        """(H, N, N)."""
        shift = torch.diag(torch.ones(self.state_size - 1), -1)
        return shift.expand(self.heads, -1, -1)

    def at(self, _t: int) -> ShiftRegister:
        """The same for every token."""
        return self

    def apply(self, state: Tensor) -> Tensor:
        """A h for a state (..., H, N, P)."""
        moved = torch.zeros_like(state)
        moved[..., 1:, :] = state[..., :-1, :]
        return moved

    def apply_left(self, row: Tensor) -> Tensor:
        """r A for rows (..., R, H, N)."""
        moved = torch.zeros_like(row)
        moved[..., :-1] = row[..., 1:]
        return moved

    def scaled(self, log_factor: Tensor) -> Dense:
        """exp(log_factor_t) A, multiplied out: log_factor (..., H)."""
        return Dense(self.dense().to(log_factor) * log_factor.exp()[..., None, None])
