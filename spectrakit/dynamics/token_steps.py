"""Transitions of any structure as steps, one token at a time.

B batch, T tokens, H heads, N state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.cokernel import cokernel
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.dynamics.operator_parts import in_double
from spectrakit.dynamics.operators import Dense

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class TokenSteps:
    """Carried by `apply` and `apply_left` in double; singular where the matrix of a token is."""

    longest_block: ClassVar[int] = 16
    operator: TransitionOperator
    valid: Tensor

    @property
    def tokens(self) -> int:
        """T."""
        return self.valid.shape[1]

    @property
    def heads(self) -> int:
        """H."""
        return self.operator.heads

    @property
    def states(self) -> int:
        """N."""
        return self.operator.state_size

    def log_factor(self) -> Tensor:
        """See `product_steps.Steps`: nothing is divided out."""
        size = (len(self.valid), self.operator.heads)
        return torch.zeros(size, dtype=torch.float64, device=self.valid.device)

    def moved(self, axes: Tensor, begin: int, end: int, *, adjoint: bool) -> tuple[Tensor, float]:
        """See `product_steps.Steps`."""
        longest = 1.0
        tokens = range(begin, end)
        for t in reversed(tokens) if adjoint else tokens:
            there = self.valid[:, t]
            if not bool(there.any()):
                continue
            operator = self.step(t)
            moved = adjoint_applied(operator, axes) if adjoint else operator.apply(axes)
            if not bool(there.all()):
                moved = torch.where(there[:, None, None, None], moved, axes)
            axes = moved
            length = float(torch.linalg.vector_norm(axes, dim=-2).max())
            if not math.isfinite(length):
                return axes, length
            longest = max(longest, length)
        return axes, longest

    def cokernel(self, t: int) -> Tensor:
        """See `product_steps.Steps`."""
        # One that is not valid may be anything.
        matrices = torch.where(self.valid[:, t, None, None, None], self.step(t).dense(), 1)
        finite = matrices.isfinite().all(-1).all(-1)[..., None, None]
        found = cokernel(torch.where(finite, matrices, 1))
        return torch.where(self.valid[:, t, None, None, None] & finite, found, 0)

    def step(self, t: int) -> TransitionOperator:
        """A_t in float64, without the factor that is divided out."""
        return in_double(self.operator.at(t))


@singledispatch
def adjoint_applied(operator: TransitionOperator, axes: Tensor) -> Tensor:
    """A^* X for X (..., H, N, P); by default by `apply_left`."""
    # The rows of X^* are pulled back: (..., P, H, N).
    return operator.apply_left(axes.mH.transpose(-3, -2)).transpose(-3, -2).mH


@adjoint_applied.register(Dense)
def _(operator: Dense, axes: Tensor) -> Tensor:
    moved: Tensor = operator.matrix.mH.to(axes.dtype) @ axes
    return moved


@adjoint_applied.register(DiagonalPlusRankOne)
def _(operator: DiagonalPlusRankOne, axes: Tensor) -> Tensor:
    return DiagonalPlusRankOne(operator.log_decay, operator.right, operator.left).apply(axes)
