"""Transitions that are diagonal less a matrix of rank one, as steps.

An erasure that is one to within the rounding of the stored numbers is taken as the projection that
it stands for, as in `erasure_steps`.

B batch, T tokens, H heads, N state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, cast

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.erasure_steps import rounding
from spectrakit.dynamics.operator_parts import in_double
from spectrakit.dynamics.token_steps import TokenSteps

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
else:
    torch = lazy_import("torch")

#: log of the smallest number that a decay is divided by; the rest of it stays in A_t.
_LEAST_FACTOR = -80.0


@dataclass(frozen=True)
class RankOneSteps(TokenSteps):
    """factor: (B, T, H), log of the slowest decay of a token, which is divided out."""

    operator: DiagonalPlusRankOne
    factor: Tensor

    @classmethod
    def of(cls, operator: DiagonalPlusRankOne, valid: Tensor) -> Self:
        """Of the valid tokens (B, T)."""
        slowest = operator.log_decay.amax(-1).double()
        factor = torch.where(valid.unsqueeze(-1), slowest.clamp(min=_LEAST_FACTOR), 0)
        return cls(operator, valid, torch.where(factor.isfinite(), factor, 0))

    def log_factor(self) -> Tensor:
        """See `product_steps.Steps`."""
        return self.factor.sum(1)

    def cokernel(self, t: int) -> Tensor:
        """See `product_steps.Steps`."""
        operator = self.step(t)
        inverse = (-operator.log_decay).exp()
        if not bool(inverse.isfinite().all()):
            return super().cokernel(t)
        # diag(d) x = v (u^T x) for x = v / d
        singular = self._singular(_along(operator)).unsqueeze(-1)
        columns = (singular * (operator.right * inverse)).unsqueeze(-1)
        return torch.where(self.valid[:, t, None, None, None], columns, 0)

    def step(self, t: int) -> DiagonalPlusRankOne:
        """A_t in float64, without its factor, and exactly singular where it is nearly so."""
        wide = cast("DiagonalPlusRankOne", in_double(self.operator.at(t)))
        operator = wide.scaled(-self.factor[:, t])
        along = _along(operator)
        whole = torch.where(self._singular(along), along, 1)
        return replace(operator, left=operator.left / whole.unsqueeze(-1))

    def _singular(self, along: Tensor) -> Tensor:
        """Where an erasure is a projection: along, (B, H), see `_along`."""
        return (along - 1).abs() <= rounding(self.operator.log_decay)


def _along(operator: DiagonalPlusRankOne) -> Tensor:
    """sum_n u_n v_n / d_n, which is 1 where diag(d) - u v^T is singular: (..., H)."""
    return (operator.left * operator.right * (-operator.log_decay).exp()).sum(-1)
