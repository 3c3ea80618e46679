"""Singular values of a product of transitions, each to many digits, however far they lie apart.

    Phi = A_T ... A_1

A frame Q is carried through the factors, and decomposed on the way,

    A_t Q_{t-1} = Q_t R_t        Phi Q_0 = Q_T R_T ... R_1 = Q_T diag(exp(d)) W

with d the sums of log (R_t)_ii and W upper triangular with ones on its diagonal, neither of which
floats overflow: the singular values of Phi are those of diag(exp(d)) W (`graded_svd`). They come
with as many digits as W is well-conditioned, which it is where Q_0 is near the right singular
vectors of Phi. So the product's adjoint is taken first, A_1^* ... A_T^* I, whose last frame is near
those; then the product from that frame, then the adjoint from the frame this ends with, until the
logarithms move by less than `TOLERANCE` a step. Each sweep squares the ratios of singular values
that still couple; three sweeps are what it mostly takes.

Several steps are taken between two decompositions, as many as the product can bear: rounding
changes log|R_ii| by about eps |A ... Q| |R^{-1}|, and a block for which that could be seen is taken
again in two halves.

What a singular A_t sends to zero is found in the first sweep, which keeps a basis of the range of
the adjoint: the later ones have none of the kernel in their frames.

B batch, T tokens, H heads, N state.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.graded_svd import log_singular_values
from spectrakit.dynamics.operator_parts import in_double
from spectrakit.dynamics.product_steps import steps_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.operators import TransitionOperator
    from spectrakit.dynamics.product_steps import Steps
else:
    torch = lazy_import("torch")

#: By how much log of a singular value over the number of steps may move in the last sweep.
TOLERANCE = 1e-6
#: Sweeps through the factors, at most.
_MOST_SWEEPS = 20

#: |A ... Q| |R^{-1}| of a block, at most: log|R_ii| is then good to about 1e-10.
_WORST_CONDITION = 1e6
#: Sine of the angle below which a direction is said to be in the span of the frame.
_SAME = 1e-10
#: log of the largest number that one row of W is multiplied by, to be added to another.
_LARGEST_LOG = 600.0


class ProductGrowth(NamedTuple):
    """log of the singular values of the products of B sequences.

    log_values: (B, H, N), falling; -inf for those that are zero. change: (B, H), the most that one
    of them, over the number of its steps, moved in the last sweep. sweeps: through the factors.
    """

    log_values: Tensor
    change: Tensor
    sweeps: int


def product_growth(operator: TransitionOperator, valid: Tensor) -> ProductGrowth:
    """Of an operator with leading axes (B, T), over the valid tokens (B, T) of each sequence.

    Raises FloatingPointError where a transition is NaN or infinite.
    """
    steps = steps_of(operator, valid)
    tokens = valid.sum(-1).clamp(min=1).view(-1, 1)
    frame = _Frame.first(steps, operator, valid)
    values = frame.log_values()
    change, sweeps = torch.full_like(values[..., 0], math.inf), 0
    while sweeps < _MOST_SWEEPS:
        frame = _swept(steps, frame.begun(), adjoint=sweeps % 2 == 0, first=sweeps == 0)
        before, values = values, frame.log_values()
        sweeps += 1
        if sweeps > 1:
            change = _moved(before, values) / tokens
            if bool((change < TOLERANCE).all()):
                break
    values = torch.where(values.isnan(), frame.diagonal(), values)
    log_values = values + steps.log_factor().unsqueeze(-1)
    return ProductGrowth(log_values.sort(-1, descending=True).values, change, sweeps)


def _moved(before: Tensor, after: Tensor) -> Tensor:
    """The largest difference in each row (..., N); inf where one of the two is not known."""
    same = (before == after).nan_to_num()
    moved = torch.where(same, 0, (after - before).abs())
    return moved.nan_to_num(nan=math.inf).amax(-1)


def _swept(steps: Steps, frame: _Frame, *, adjoint: bool, first: bool) -> _Frame:
    """The frame after all steps, or after all adjoint ones from the last to the first."""
    done, block = 0, steps.longest_block
    while done < steps.tokens:
        size = min(block, steps.tokens - done)
        begin = steps.tokens - done - size if adjoint else done
        if first and size == 1:
            frame = frame.without(steps.cokernel(begin))
        moved, longest = steps.moved(frame.axes, begin, begin + size, adjoint=adjoint)
        condition = math.inf
        if math.isfinite(longest):
            carried, inverse = frame.carried(moved)
            condition = longest * inverse
        elif size == 1:
            message = "a transition is NaN or infinite"
            raise FloatingPointError(message)
        if size > 1 and not condition <= _WORST_CONDITION:
            block = size // 2
            continue
        frame, done = carried, done + size
        if condition**2 <= _WORST_CONDITION:
            block = min(2 * block, steps.longest_block)
    return frame


class _Frame(NamedTuple):
    """Q of every sequence and head, and diag(exp(d)) W of the steps so far.

    axes: (B, H, N, N), orthonormal columns, of which those from `rank` (B, H) on are zero: they
    went where a singular A_t sent them. log_scale: (B, H, N), d. shape: (B, H, N, N), W.
    whole: (B, H), False where a column was lost on the way: W then says nothing.
    """

    axes: Tensor
    rank: Tensor
    log_scale: Tensor
    shape: Tensor
    whole: Tensor

    @classmethod
    def first(cls, steps: Steps, operator: TransitionOperator, valid: Tensor) -> _Frame:
        """The frame before the first step."""
        size, device = (len(valid), steps.heads), valid.device
        dtype = in_double(operator.at(0)).dense().dtype
        axes = torch.eye(steps.states, dtype=dtype, device=device).expand(*size, -1, -1)
        rank = torch.full(size, steps.states, device=device)
        scale = torch.zeros(*size, steps.states, dtype=torch.float64, device=device)
        return cls(axes, rank, scale, axes, torch.ones_like(rank, dtype=torch.bool))

    def begun(self) -> _Frame:
        """The same axes before the first step of a sweep, those that grew the most first."""
        row = torch.linalg.vector_norm(self.shape, dim=-1).log() + self.log_scale
        known = (self._live() & self.whole.unsqueeze(-1)).logical_and(row.isfinite())
        row = torch.where(known, row, -math.inf)
        order = row.argsort(dim=-1, descending=True, stable=True)
        axes = self.axes.gather(-1, order.unsqueeze(-2).expand_as(self.axes))
        identity = torch.eye(axes.shape[-1], dtype=axes.dtype, device=axes.device)
        return _Frame(
            axes,
            self.rank,
            torch.zeros_like(self.log_scale),
            identity.expand_as(axes),
            torch.ones_like(self.whole),
        )

    def log_values(self) -> Tensor:
        """log of the singular values of diag(exp(d)) W (B, H, N); NaN where they are not known."""
        flat = (part.flatten(0, 1) for part in (self.log_scale, self.shape, self.rank))
        found = log_singular_values(*flat).view(self.log_scale.shape)
        return torch.where(self.whole.unsqueeze(-1) | ~self._live(), found, math.nan)

    def diagonal(self) -> Tensor:
        """d, in falling order: what the logarithms are where W is the identity."""
        values = torch.where(self._live(), self.log_scale, -math.inf)
        return values.sort(-1, descending=True).values

    def _live(self) -> Tensor:
        position = torch.arange(self.axes.shape[-1], device=self.axes.device)
        return position < self.rank.unsqueeze(-1)

    def without(self, kernel: Tensor) -> _Frame:
        """The frame of what is orthogonal to what both it and `kernel` (B, H, N, M) span."""
        frame = self
        kernel = kernel.to(self.axes.dtype)
        some = kernel.isfinite().all(-1).all(-1) & (kernel != 0).any(-1).any(-1)
        for index in some.nonzero().tolist():
            at = tuple(index)
            size = int(frame.rank[at])
            columns = kernel[at][:, (kernel[at] != 0).any(0)]
            axes, lost = _turned(frame.axes[at][:, :size], columns)
            if lost == 0:
                continue
            if frame is self:
                frame = _Frame(*(part.clone() for part in self))
            frame.axes[at] = 0
            frame.axes[at][:, : size - lost] = axes
            frame.rank[at] = size - lost
            frame.whole[at] = False
            frame.log_scale[at][size - lost :] = 0
        return frame

    def carried(self, moved: Tensor) -> tuple[_Frame, float]:
        """The frame of the columns `moved`, and |R^{-1}| of finding it."""
        axes, triangle = torch.linalg.qr(moved)
        return self._with(axes, triangle), self._inverse_norm(triangle)

    def _with(self, axes: Tensor, triangle: Tensor) -> _Frame:
        """The frame with the axes Q and the triangle R of the steps that follow."""
        live = self._live()
        diagonal = triangle.diagonal(dim1=-2, dim2=-1)
        sign = torch.where(live, diagonal.sgn(), 1)
        size = torch.where(live, diagonal.abs(), 1).double()
        # diag(r) U diag(exp(d)) W = diag(r exp(d)) (exp(-d_i) U_ij exp(d_j)) W
        ratio = self.log_scale.unsqueeze(-2) - self.log_scale.unsqueeze(-1)
        unit = triangle * (sign.conj() / size).unsqueeze(-1)
        unit = (unit * ratio.clamp(max=_LARGEST_LOG).exp()).triu(1)
        shape = self.shape + unit @ self.shape
        identity = torch.eye(axes.shape[-1], dtype=axes.dtype, device=axes.device)
        return _Frame(
            axes * (sign * live).unsqueeze(-2),
            self.rank,
            self.log_scale + size.log(),
            torch.where(self.whole[..., None, None], shape, identity),
            self.whole,
        )

    def _inverse_norm(self, triangle: Tensor) -> float:
        """Largest absolute column sum of R^{-1} over all heads, without the columns left zero."""
        identity = torch.eye(triangle.shape[-1], dtype=triangle.dtype, device=triangle.device)
        filled = triangle + torch.diag_embed((~self._live()).to(triangle.dtype))
        inverse = torch.linalg.solve_triangular(filled, identity.expand_as(filled), upper=True)
        return float(inverse.abs().sum(-2).max())


def _turned(axes: Tensor, kernel: Tensor) -> tuple[Tensor, int]:
    """A basis of what orthonormal axes (N, r) span and is orthogonal to what they and kernel share.

    (N, r - n), and n.
    """
    kernel = torch.linalg.qr(kernel)[0]
    coordinates = axes.mH @ kernel
    _, sine, mixed = torch.linalg.svd(kernel - axes @ coordinates, full_matrices=False)
    shared = coordinates @ mixed.mH[:, sine <= _SAME]
    count = shared.shape[-1]
    if count == 0:
        return axes, 0
    basis = torch.linalg.qr(shared, mode="complete")[0]
    return axes @ basis[:, count:], count
