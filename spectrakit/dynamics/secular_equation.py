"""The secular equation of a diagonal matrix less one of rank one, for many matrices at once.

    diag(d) - s s^T,  w_i = s_i^2:        1 = sum_i w_i / (d_i - x)

With d_1 <= ... <= d_N and g_1 = sum_i w_i, g_k = d_k - d_{k-1}, root k lies in [d_k - g_k, d_k]
(Golub 1973, SIAM Review 15, section 5). It is counted from an end d_p of this interval, the nearer
one, so that poles that are close cost no digits:

    x = d_p + c t          c = -1 where p = k,  1 where p = k - 1;  0 <= t <= g_k

Differences of poles are those of d where d_p < 1/2 and else those of d - 1, which both are given.

M matrices, N poles, K roots of each: N, or one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Pairs of a pole and a root at once: two such arrays of float64 fit a second-level cache.
_PAIRS = 1 << 16
#: An interval this narrow, relative to the sum of all g_k, is a point.
_FLAT = 1e-30
#: Where that sum is less, all intervals are points.
_NOTHING = 1e-290


def slices(count: int, few: int) -> Iterator[slice]:
    """All of `count`, at most `few` at a time."""
    for first in range(0, count, few):
        yield slice(first, min(first + few, count))


def poles_and_below_one(log_pole: Tensor) -> Tensor:
    """d and d - 1, from log d: (2, M, N)."""
    return torch.stack([log_pole.exp(), torch.expm1(log_pole)])


def gaps(poles: Tensor, weight: Tensor) -> Tensor:
    """g (M, N), from d and d - 1 (2, M, N) and w (M, N)."""
    near_zero, near_one = poles.diff(dim=-1)
    between = torch.where(_near_one(poles)[:, 1:], near_one, near_zero)
    return torch.cat([weight.sum(-1, keepdim=True), between], -1)


def _near_one(poles: Tensor) -> Tensor:
    """Of which poles d - 1 has more digits than d."""
    return poles[1] > -0.5


class Memory(NamedTuple):
    """Asked of the system once: at every step it would cost as much as the step.

    differences: (M, N, K) in float32, of a block. coarse, fine: (2, m, N, K) in float32 and
    float64, of a few of its matrices.
    """

    differences: Tensor
    coarse: Tensor
    fine: Tensor

    @classmethod
    def of(cls, matrices: int, poles: int, roots: int, like: Tensor) -> Memory:
        """For as many, on the device of `like`, which is of float64."""
        few = max(1, min(matrices, _PAIRS // (poles * roots)))
        fine = like.new_empty(2, few, poles, roots)
        coarse = like.new_empty(2, 2 * few, poles, roots, dtype=torch.float32)
        return cls(coarse.new_empty(matrices, poles, roots), coarse, fine)


@dataclass(frozen=True)
class Block:
    """The equations of some matrices, each scaled by a power of two: the g_k sum to about one.

    weight: w, (M, 1, N). root: k, (M, 1, K). gap: g_k, (M, 1, K). flat: (M, 1, K), intervals that
    are a point; their gap is one. scale: (M, 1, 1).
    rows: (M, N, 3), d_i, d_i - 1 and 1. columns: (M, 3, N), 1, 0 and -d_i, or 0, 1 and 1 - d_i: a
    product of the two is a difference of poles, rounded once.
    """

    weight: Tensor
    root: Tensor
    gap: Tensor
    flat: Tensor
    scale: Tensor
    rows: Tensor
    columns: Tensor
    memory: Memory

    @classmethod
    def of(cls, poles: Tensor, weight: Tensor, memory: Memory, root: Tensor | None = None) -> Block:
        """All roots, or those at root (M, K); d and d - 1 (2, M, N), w (M, N).

        The memory may be for more matrices.
        """
        gap = gaps(poles, weight)
        total = gap.sum(-1, keepdim=True)
        scale = torch.where(total > _NOTHING, torch.frexp(total).mantissa / total, 1.0)
        gap *= scale
        if root is None:
            root = torch.arange(weight.shape[-1], device=weight.device).expand_as(weight)
        else:
            gap = gap.gather(-1, root)
        gap = gap.unsqueeze(-2)
        flat = gap <= _FLAT
        near_zero, near_one = scaled = poles * scale
        slow = _near_one(poles)
        return cls(
            (weight * scale).unsqueeze(-2),
            root.unsqueeze(-2),
            gap.masked_fill(flat, 1.0),
            flat,
            scale.unsqueeze(-1),
            torch.stack([*scaled, torch.ones_like(weight)], -1),
            torch.stack([~slow, slow, -torch.where(slow, near_one, near_zero)], -2),
            memory,
        )


@dataclass(frozen=True)
class Ends:
    """The ends from which roots are counted: c, p and w_p, (M, 1, K), and columns, (M, 3, K)."""

    side: Tensor
    origin: Tensor
    own: Tensor
    columns: Tensor

    @classmethod
    def of(cls, block: Block, lower: Tensor) -> Ends:
        """p = k - 1 where `lower`, else k."""
        origin = block.root - lower.long()
        return cls(
            2.0 * lower.double() - 1,
            origin,
            block.weight.gather(-1, origin),
            block.columns.gather(-1, origin.expand(-1, 3, -1)),
        )

    def differences(self, block: Block, here: slice) -> Tensor:
        """d_i, in rows, less d_p, in columns: (m, N, K), in block.memory.fine[0]."""
        difference = block.memory.fine[0, : here.stop - here.start]
        return torch.bmm(block.rows[here], self.columns[here], out=difference)


# ---- sums over poles ---------------------------------------------------------------------------


class Sums(NamedTuple):
    """Of w_i / (d_i - x)^j over i, j = 1, 2, 3: (M, 1, K) each, in float64."""

    first: Tensor
    second: Tensor
    third: Tensor


def _add_up(
    difference: Tensor, offset: Tensor, weight: Tensor, memory: Tensor, sums: Tensor
) -> None:
    """Sums (3, m, 1, K) of w_i / (difference_i - offset)^j; the difference may be memory[0]."""
    resolvent, power = memory[:, : len(difference)]
    torch.sub(difference, offset, out=resolvent).reciprocal_()
    torch.bmm(weight, resolvent, out=sums[0])
    torch.bmm(weight, torch.mul(resolvent, resolvent, out=power), out=sums[1])
    torch.bmm(weight, power.mul_(resolvent), out=sums[2])


def keep_differences(block: Block, ends: Ends) -> Tensor:
    """d_i - d_p in float32, for `coarse_sums`: (M, N, K)."""
    kept = block.memory.differences[: len(block.weight)]
    for here in slices(len(kept), block.memory.fine.shape[1]):
        kept[here] = ends.differences(block, here)
    return kept


def coarse_sums(block: Block, offset: Tensor) -> Sums:
    """At d_p + offset, in float32, with the differences that were kept."""
    memory = block.memory
    weight, offset = block.weight.float(), offset.float()
    sums = weight.new_empty(3, *offset.shape)
    for here in slices(len(weight), memory.coarse.shape[1]):
        kept = memory.differences[here]
        _add_up(kept, offset[here], weight[here], memory.coarse, sums[:, here])
    return Sums(*sums.double())


def fine_sums(block: Block, ends: Ends, offset: Tensor) -> Sums:
    """Over i != p, at d_p + offset, in float64."""
    memory = block.memory
    sums = offset.new_empty(3, *offset.shape)
    for here in slices(len(offset), memory.fine.shape[1]):
        difference = ends.differences(block, here).scatter_(-2, ends.origin[here], math.inf)
        _add_up(difference, offset[here], block.weight[here], memory.fine, sums[:, here])
    return Sums(*sums)
