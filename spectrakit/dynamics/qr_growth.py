"""The growth of a product of matrices along the axes of a frame that is carried with it.

    A_t Q_{t-1} = Q_t R_t        growth_i = sum_t log|(R_t)_ii|

Several steps are taken between two decompositions: A_{t+s} ... A_t Q = Q' R has the same diagonal
as the product of the single R_t. As many as the product can bear: rounding changes log|R_ii| by
about eps |A ... Q| |R^{-1}|, and a block for which that could be seen is taken again in two halves.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.delta import DeltaRule

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")

#: Steps between two decompositions, at most.
_LONGEST_BLOCK = 16

#: |A ... Q| |R^{-1}| of a block, at most: log|R_ii| is then good to about 1e-10.
_WORST_CONDITION = 1e6


def qr_growth(operator: TransitionOperator, valid: Tensor) -> Tensor:
    """sum_t log|(R_t)_ii| over the valid tokens (B, T) of all sequences: (H, N), in float64.

    An axis that a singular A_t maps into the span of those before it, to within rounding, has a
    growth of -inf and comes last. NaN where a transition is NaN or infinite.
    """
    scalar = torch.zeros(1, dtype=torch.float64, device=valid.device)
    if isinstance(operator, DeltaRule):  # its decay commutes with everything
        decay = torch.where(valid.unsqueeze(-1), operator.log_decay, 0)
        scalar = decay.sum((0, 1), dtype=torch.float64).unsqueeze(-1)
        operator = replace(operator, log_decay=torch.zeros_like(operator.log_decay))
    frame = _Frame.like(_in_double(operator.at(0)).dense())
    begin, block = 0, _LONGEST_BLOCK
    while begin < valid.shape[1]:
        end = min(begin + block, valid.shape[1])
        carried, condition = _carried(frame, operator, valid, begin, end)
        if condition > _WORST_CONDITION and end - begin > 1:
            block = (end - begin) // 2
            continue
        frame, begin = carried, end
        if condition**2 <= _WORST_CONDITION:
            block = min(2 * block, _LONGEST_BLOCK)
    return frame.growth.sum(0) + scalar


def _carried(
    frame: _Frame, operator: TransitionOperator, valid: Tensor, begin: int, end: int
) -> tuple[_Frame, float]:
    """The frame after the valid tokens of [begin, end), and the condition of finding it."""
    axes, longest = frame.axes, 1.0
    for t in range(begin, end):
        moved = _in_double(operator.at(t)).apply(axes)
        axes = torch.where(valid[:, t, None, None, None], moved, axes)
        length = float(torch.linalg.vector_norm(axes, dim=-2).max())
        if not math.isfinite(length):  # LAPACK may pass over a NaN
            return frame._replace(growth=frame.growth + math.nan), math.inf
        longest = max(longest, length)
    carried, inverse = frame.carried(axes)
    return carried, longest * inverse


class _Frame(NamedTuple):
    """Q and the growth so far of every sequence and head.

    axes: (B, H, N, N), orthonormal columns, of which those from `rank` on are zero: they went where
    a singular A_t sent them. rank: (B, H). growth: (B, H, N).
    """

    axes: Tensor
    rank: Tensor
    growth: Tensor

    @classmethod
    def like(cls, matrices: Tensor) -> _Frame:
        """The frame before the first step, for matrices (B, H, N, N)."""
        axes = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
        rank = torch.full(matrices.shape[:-2], matrices.shape[-1], device=matrices.device)
        growth = torch.zeros(matrices.shape[:-1], dtype=torch.float64, device=matrices.device)
        return cls(axes.expand_as(matrices), rank, growth)

    def carried(self, moved: Tensor) -> tuple[_Frame, float]:
        """The frame of the columns `moved`, and |R^{-1}| of finding it: inf if a column is lost."""
        rank, growth = self.rank, self.growth
        position = torch.arange(moved.shape[-1], device=moved.device)
        while True:
            axes, triangle = torch.linalg.qr(moved)
            diagonal = triangle.diagonal(dim1=-2, dim2=-1).abs()
            lost = _dependent(moved, diagonal) & (position < rank.unsqueeze(-1))
            if not bool(lost.any()):
                break
            # Those after a lost column were measured against an axis that means nothing: again,
            # with it last.
            order = lost.long().argsort(dim=-1, stable=True)
            moved = moved.masked_fill(lost.unsqueeze(-2), 0)
            moved = moved.gather(-1, order.unsqueeze(-2).expand_as(moved))
            growth = growth.masked_fill(lost, -math.inf).gather(-1, order)
            rank = rank - lost.sum(-1)
        kept = position < rank.unsqueeze(-1)
        growth = torch.where(kept, growth + torch.where(kept, diagonal, 1).log(), -math.inf)
        whole = bool((rank == self.rank).all())
        inverse = _inverse_norm(triangle, kept) if whole else math.inf
        return _Frame(axes * kept.unsqueeze(-2), rank, growth), inverse


def _dependent(columns: Tensor, diagonal: Tensor) -> Tensor:
    """The zero columns, and the first that lies in the span of those before it: (B, H, N)."""
    length = torch.linalg.vector_norm(columns, dim=-2)
    rounding = columns.shape[-1] * torch.finfo(torch.float64).eps
    below = diagonal <= rounding * length
    lost: Tensor = (length == 0) | below & (below.cumsum(-1) == 1)
    return lost


def _inverse_norm(triangle: Tensor, kept: Tensor) -> float:
    """Largest absolute column sum of R^{-1} over all heads, without the columns that are zero."""
    size = triangle.shape[-1]
    identity = torch.eye(size, dtype=triangle.dtype, device=triangle.device)
    filled = triangle + torch.diag_embed((~kept).to(triangle.dtype))
    inverse = torch.linalg.solve_triangular(filled, identity.expand_as(filled), upper=True)
    return float(inverse.abs().sum(-2).max())


def _in_double(operator: TransitionOperator) -> TransitionOperator:
    """The operator with its tensors in float64 or complex128."""
    wide: dict[str, Tensor] = {}
    for field in fields(cast("Any", operator)):
        value = getattr(operator, field.name)
        if isinstance(value, torch.Tensor):
            wide[field.name] = value.to(torch.promote_types(value.dtype, torch.float64))
    return cast("TransitionOperator", replace(cast("Any", operator), **wide))
