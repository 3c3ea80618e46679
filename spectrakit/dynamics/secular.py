"""Eigenvalues of a diagonal matrix less a symmetric one of rank one: roots of its secular equation.

`secular_equation` has the equation. For the distance t of a root from the end d_p it is

    0 = r(t) + w_p / t     r(t) = c - sum_{i != p} w_i / (y_i - t),  y_i = c (d_i - d_p)

and its right-hand side falls. A step keeps w_p / t and puts a - b / (q - t), with the value and the
first two derivatives of r at the last t, in the place of r: a quadratic equation, and cubic
convergence. The solvers of LAPACK interpolate with one derivative fewer (Li 1993, LAPACK Working
Note 89).

All roots of many matrices advance together: first in float32, with differences of poles rounded
from float64, last in float64. What has not settled then, a root in a few hundred, is bracketed in
float64; a matrix with a root that does not settle either goes to `eigvalsh`.

M matrices, N poles, K roots of each: N, or one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from spectrakit._lazy import lazy_import
from spectrakit._threads import one_thread
from spectrakit.dynamics.secular_equation import (
    Block,
    Ends,
    Memory,
    Sums,
    coarse_sums,
    fine_sums,
    gaps,
    keep_differences,
    poles_and_below_one,
    slices,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Roots of a block: as many as repay the calls of some two hundred small operations.
_BLOCK_ROOTS = 1 << 13
#: Steps in float32, after the one from the middle of the interval.
_COARSE_STEPS = 2
#: Bracketed steps in float64.
_CAREFUL_STEPS = 40
#: A step this small, relative to t, leaves a relative error of about its cube.
_SETTLED = 1e-5
#: How far the trace may be off, relative to the sum of all g_k.
_TRACE_ERROR = 1e-11
#: Least of what is divided by and may be zero.
_TINY = 1e-300


class Roots(NamedTuple):
    """Root k is offset_k above the pole d_{origin_k}: both (..., N)."""

    origin: Tensor
    offset: Tensor


@one_thread()  # thousands of small operations
def secular_roots(log_pole: Tensor, weight: Tensor) -> Roots:
    """Eigenvalues of diag(exp(log_pole)) - s s^T, s_i^2 = weight_i >= 0, rising, in float64.

    log_pole: (..., N), rising. weight: (..., N), finite.
    """
    size = log_pole.shape[-1]
    poles = poles_and_below_one(log_pole.double().reshape(-1, size))
    weight = weight.double().reshape(-1, size)
    found = _every_root(poles, weight)
    _find_again(found, poles, weight)
    origin, offset, settled = found
    right = settled.all(-1) & _trace_is_right(found, poles, weight)
    left = (~right).nonzero().squeeze(-1)
    for here in slices(len(left), max(1, _BLOCK_ROOTS // size)):
        m = left[here]
        origin[m] = torch.arange(size, device=m.device)
        offset[m] = _dense_offsets(poles[:, m], weight[m])
    return Roots(origin.view(log_pole.shape), offset.view(log_pole.shape))


class _Found(NamedTuple):
    """Roots as in `Roots`, and whether each is to be relied on: (M, K) each."""

    origin: Tensor
    offset: Tensor
    settled: Tensor


def _every_root(poles: Tensor, weight: Tensor) -> _Found:
    """What `_advanced` finds, a block at a time: poles (2, M, N), weight (M, N)."""
    count, size = weight.shape
    found = _Found(
        torch.empty_like(weight, dtype=torch.long),
        torch.empty_like(weight),
        torch.empty_like(weight, dtype=torch.bool),
    )
    rows = max(1, min(count, _BLOCK_ROOTS // size))
    memory = Memory.of(rows, size, size, weight)
    for here in slices(count, rows):
        block = Block.of(poles[:, here], weight[here], memory)
        found.origin[here], found.offset[here], found.settled[here] = _advanced(block)
    return found


def _find_again(found: _Found, poles: Tensor, weight: Tensor) -> None:
    """Bracket the roots that have not settled, each as if its matrix had no other."""
    matrices, roots = (~found.settled).nonzero(as_tuple=True)
    memory = Memory.of(min(len(roots), _BLOCK_ROOTS), weight.shape[-1], 1, weight)
    for here in slices(len(roots), _BLOCK_ROOTS):
        m, k = matrices[here], roots[here]
        block = Block.of(poles[:, m], weight[m], memory, k.unsqueeze(-1))
        so_far = _Found(*(part[m, k].unsqueeze(-1) for part in found))
        for part, values in zip(found, _bracketed(block, so_far), strict=True):
            part[m, k] = values.squeeze(-1)


def _trace_is_right(found: _Found, poles: Tensor, weight: Tensor) -> Tensor:
    """Whether the eigenvalues of a matrix sum to its trace: (M,)."""
    gap = gaps(poles, weight)
    from_below = found.origin < torch.arange(weight.shape[-1], device=weight.device)
    fallen = torch.where(from_below, gap, 0.0) - found.offset
    return (fallen - weight).sum(-1).abs() <= _TRACE_ERROR * gap.sum(-1)


def _dense_offsets(poles: Tensor, weight: Tensor) -> Tensor:
    """Roots less d_k, by a symmetric eigensolver: errors are relative to the largest entry."""
    pole, s = poles[1], weight.sqrt()
    matrix = torch.diag_embed(pole) - s.unsqueeze(-1) * s.unsqueeze(-2)
    offset: Tensor = torch.linalg.eigvalsh(matrix) - pole
    return offset.clamp(max=0).maximum(-gaps(poles, weight))


# ---- steps -------------------------------------------------------------------------------------


def _step(ends: Ends, distance: Tensor, sums: Sums) -> Tensor:
    """The next t, from the sums over i != p at this one: a root of a t^2 - b t - c."""
    rest = (1 - sums.first).mul_(ends.side)
    # One over q - t. Where no other pole has weight, r is constant.
    bend = sums.third.div(sums.second.clamp(min=_TINY)).mul_(ends.side)
    stretch = (bend * distance).add_(1)
    a = torch.addcmul(sums.second, rest, bend)
    b = torch.addcmul(sums.second * distance, rest, stretch).addcmul_(ends.own, bend, value=-1)
    c = stretch.mul_(ends.own)
    half = torch.addcmul(b.square(), a, c, value=4).sqrt_().add_(b.abs()).div_(2)
    return torch.where(b > 0, half / a, c / half)


def _halved(block: Block) -> tuple[Ends, Tensor]:
    """In which half of its interval each root is, and its t by a step from the middle."""
    half = block.gap / 2
    keep_differences(block, Ends.of(block, torch.zeros_like(block.flat)))
    sums = coarse_sums(block, -half)
    ends = Ends.of(block, (sums.first >= 1) & (block.root > 0) & ~block.flat)
    # Less the term of i = p: from the middle, d_p is half an interval away.
    away = -ends.side / half
    others = (total - ends.own * away**j for j, total in enumerate(sums, 1))
    return ends, _step(ends, half, Sums(*others))


def _found(block: Block, ends: Ends, distance: Tensor, settled: Tensor) -> _Found:
    """Roots from their distances."""
    offset = (ends.side * distance / block.scale).masked_fill(block.flat, 0.0)
    settled = settled | block.flat
    return _Found(ends.origin.squeeze(-2), offset.squeeze(-2), settled.squeeze(-2))


def _advanced(block: Block) -> _Found:
    """Steps in float32, and one in float64 that shows whether they had arrived."""
    ends, step = _halved(block)
    keep_differences(block, ends).scatter_(-2, ends.origin, math.inf)
    for _ in range(_COARSE_STEPS):
        distance = step.clamp_(min=0).minimum(block.gap)
        step = _step(ends, distance, coarse_sums(block, ends.side * distance))
    distance = step.clamp_(min=0).minimum(block.gap)
    step = _step(ends, distance, fine_sums(block, ends, ends.side * distance))
    return _found(block, ends, step, (step - distance).abs_() <= _SETTLED * step)


def _bracketed(block: Block, so_far: _Found) -> _Found:
    """Steps in float64; one that leaves the interval the root is known to be in halves it."""
    ends = Ends.of(block, so_far.origin.unsqueeze(-2) < block.root)
    step = so_far.offset.unsqueeze(-2).abs() * block.scale
    low, high = torch.zeros_like(step), block.gap
    settled = block.flat
    for _ in range(_CAREFUL_STEPS):
        inside = (low <= step) & (step <= high)
        distance = torch.where(inside | settled, step, (low + high) / 2)
        sums = fine_sums(block, ends, ends.side * distance)
        above = (1 - sums.first) * ends.side + ends.own / distance.clamp(min=_TINY) > 0
        low, high = torch.where(above, distance, low), torch.where(above, high, distance)
        # A root that has settled stays: what it does after that is rounding.
        step = torch.where(settled, distance, _step(ends, distance, sums))
        settled = settled | ((step - distance).abs() <= _SETTLED * step)
        if bool(settled.all()):
            break
    return _found(block, ends, step, settled)
