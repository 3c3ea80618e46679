"""The transitions of a batch of sequences, as steps that a frame is carried through.

    forward   A_{end-1} ... A_{begin} X          adjoint   (A_{end-1} ... A_{begin})^* X

of the valid tokens alone, in float64, without the part of A_t that is a number: that commutes with
everything, and is added to the logarithms at the end.

An erasure whose beta |k|^2 is 1 to within the rounding of the stored numbers is taken as the
projection that it stands for, which has a singular value of exactly zero.

B batch, T tokens, H heads, N state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.delta import DeltaRule
from spectrakit.dynamics.delta_product import DeltaProduct
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.dynamics.operators import Dense

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")

#: Roundings by which beta |k|^2 of a projection may differ from 1: of k, of its length, of beta.
_ROUNDINGS = 8
#: log of the smallest number that a decay is divided by; the rest of it stays in A_t.
_LEAST_FACTOR = -80.0


class Steps(Protocol):
    """What carries a frame."""

    #: Steps taken at once, at most.
    longest_block: ClassVar[int]

    @property
    def tokens(self) -> int:
        """T."""

    @property
    def heads(self) -> int:
        """H."""

    @property
    def states(self) -> int:
        """N."""

    def log_factor(self) -> Tensor:
        """Sum over the valid tokens of the logarithm of what was divided out: (B, H)."""

    def moved(self, axes: Tensor, begin: int, end: int, *, adjoint: bool) -> tuple[Tensor, float]:
        """`axes` (B, H, N, N) carried through the steps, and how long they got on the way."""

    def cokernel(self, t: int) -> Tensor:
        """What the adjoint of step `t` sends to zero, as columns: (B, H, N, M), some of them zero.

        None of them is a combination of others.
        """


def steps_of(operator: TransitionOperator, valid: Tensor) -> Steps:
    """The steps of an operator with leading axes (B, T), at its valid tokens (B, T)."""
    if isinstance(operator, DeltaProduct):
        # As many tokens of the delta rule, of which the first has the decay.
        factors = operator.factors
        decay = torch.nn.functional.pad(operator.log_decay.unsqueeze(2), (0, 0, 0, factors - 1))
        beta, key = operator.beta.transpose(2, 3), operator.key.transpose(2, 3)
        parts = (part.flatten(1, 2) for part in (decay, beta, key))
        operator, valid = DeltaRule(*parts), valid.repeat_interleave(factors, dim=1)
    if isinstance(operator, DeltaRule):
        return ErasureSteps.of(operator, valid)
    return TokenSteps.of(operator, valid)


@dataclass(frozen=True)
class ErasureSteps:
    """I - beta_t k_t k_t^T, many at once as I - K^T T K (see `delta_product`).

    decay: (B, H), summed. beta: (B, T, H), 0 where a token is not valid. key: (B, T, H, N).
    singular: (B, T, H). gain: (B, T, H), the largest singular value.
    """

    longest_block: ClassVar[int] = 64
    decay: Tensor
    beta: Tensor
    key: Tensor
    singular: Tensor
    gain: Tensor

    @classmethod
    def of(cls, operator: DeltaRule, valid: Tensor) -> ErasureSteps:
        """Of the valid tokens (B, T)."""
        there = valid.unsqueeze(-1)
        decay = torch.where(there, operator.log_decay, 0).sum(1, dtype=torch.float64)
        beta = torch.where(there, operator.beta, 0).double()
        key = torch.where(there.unsqueeze(-1), operator.key, 0)
        # A block of tokens at a time: no second copy of all keys.
        squared = torch.cat(
            [k.double().square().sum(-1) for k in key.split(cls.longest_block, 1)], 1
        )
        erased = beta * squared
        singular = (erased - 1).abs() <= _rounding(operator.key)
        beta = torch.where(singular, 1 / squared, beta)
        return cls(decay, beta, key, singular, (1 - erased).abs().clamp(min=1))

    @property
    def tokens(self) -> int:
        """T."""
        return self.key.shape[1]

    @property
    def heads(self) -> int:
        """H."""
        return self.key.shape[2]

    @property
    def states(self) -> int:
        """N."""
        return self.key.shape[3]

    def log_factor(self) -> Tensor:
        """See `Steps`."""
        return self.decay

    def moved(self, axes: Tensor, begin: int, end: int, *, adjoint: bool) -> tuple[Tensor, float]:
        """See `Steps`."""
        beta = self.beta[:, begin:end].transpose(1, 2)
        key = self.key[:, begin:end].double().transpose(1, 2)
        write = DeltaProduct(torch.zeros_like(beta[..., 0]), beta, key).write_keys()
        left, right = (key, write) if adjoint else (write, key)
        longest = float(self.gain[:, begin:end].prod(1).max())
        return axes - left.mT @ (right @ axes), longest

    def cokernel(self, t: int) -> Tensor:
        """See `Steps`: the keys that are erased."""
        return (self.singular[:, t].unsqueeze(-1) * self.key[:, t].double()).unsqueeze(-1)


@dataclass(frozen=True)
class TokenSteps:
    """Transitions of any structure, one token at a time."""

    longest_block: ClassVar[int] = 16
    operator: TransitionOperator
    valid: Tensor
    factor: Tensor | None = None

    @classmethod
    def of(cls, operator: TransitionOperator, valid: Tensor) -> TokenSteps:
        """Of the valid tokens (B, T)."""
        if not isinstance(operator, DiagonalPlusRankOne):
            return cls(operator, valid)
        slowest = operator.log_decay.amax(-1).double()
        factor = torch.where(valid.unsqueeze(-1), slowest.clamp(min=_LEAST_FACTOR), 0)
        return cls(operator, valid, torch.where(factor.isfinite(), factor, 0))

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
        """See `Steps`."""
        if self.factor is not None:
            return self.factor.sum(1)
        size = (len(self.valid), self.operator.heads)
        return torch.zeros(size, dtype=torch.float64, device=self.valid.device)

    def moved(self, axes: Tensor, begin: int, end: int, *, adjoint: bool) -> tuple[Tensor, float]:
        """See `Steps`."""
        longest = 1.0
        tokens = range(begin, end)
        for t in reversed(tokens) if adjoint else tokens:
            there = self.valid[:, t]
            if not bool(there.any()):
                continue
            carry = _apply_adjoint if adjoint else _apply
            moved = carry(self._at(t), axes)
            if not bool(there.all()):
                moved = torch.where(there[:, None, None, None], moved, axes)
            axes = moved
            length = float(torch.linalg.vector_norm(axes, dim=-2).max())
            if not math.isfinite(length):
                return axes, length
            longest = max(longest, length)
        return axes, longest

    def cokernel(self, t: int) -> Tensor:
        """See `Steps`."""
        operator, there = self._at(t), self.valid[:, t, None, None, None]
        if isinstance(operator, DiagonalPlusRankOne):
            inverse = (-operator.log_decay).exp()
            if bool(inverse.isfinite().all()):
                # diag(d) x = v (u^T x) for x = v / d
                singular = self._singular(_along(operator)).unsqueeze(-1)
                columns = (singular * (operator.right * inverse)).unsqueeze(-1)
                return torch.where(there, columns, 0)
        # One that is not valid may be anything.
        matrices = torch.where(there, operator.dense(), 1)
        finite = matrices.isfinite().all(-1).all(-1)[..., None, None]
        return torch.where(there & finite, _cokernel(torch.where(finite, matrices, 1)), 0)

    def _at(self, t: int) -> TransitionOperator:
        """A_t in float64, without its factor, and exactly singular where it is nearly so."""
        operator = in_double(self.operator.at(t))
        if not isinstance(operator, DiagonalPlusRankOne) or self.factor is None:
            return operator
        operator = operator.scaled(-self.factor[:, t])
        along = _along(operator)
        whole = torch.where(self._singular(along), along, 1)
        return replace(operator, left=operator.left / whole.unsqueeze(-1))

    def _singular(self, along: Tensor) -> Tensor:
        """Where an erasure is a projection: along, (B, H), see `_along`."""
        assert isinstance(self.operator, DiagonalPlusRankOne)  # noqa: S101
        return (along - 1).abs() <= _rounding(self.operator.log_decay)


def _along(operator: DiagonalPlusRankOne) -> Tensor:
    """sum_n u_n v_n / d_n, which is 1 where diag(d) - u v^T is singular: (..., H)."""
    return (operator.left * operator.right * (-operator.log_decay).exp()).sum(-1)


def _rounding(stored: Tensor) -> float:
    """What 1 can differ by for the rounding of numbers of this type, half precision included."""
    # Half-precision numbers are coarse, but A_t is computed from them as they are.
    return _ROUNDINGS * min(torch.finfo(t).eps for t in (stored.dtype, torch.float32))


def _cokernel(matrices: Tensor) -> Tensor:
    """x with A^* x = 0 to within the rounding of float64, as columns: (..., N, N), the rest zero.

    Rows and columns of A may be of different sizes: they are brought to one first.
    """
    rows = _largest(matrices, -1)
    columns = _largest(matrices / rows, -2)
    axes, values, _ = torch.linalg.svd(matrices / rows / columns)
    rounding = matrices.shape[-1] * torch.finfo(torch.float64).eps
    zero = values <= rounding * values[..., :1]
    found: Tensor = axes / rows * zero.unsqueeze(-2)
    return found


def _largest(matrices: Tensor, axis: int) -> Tensor:
    """The largest modulus along an axis, which stays; 1 where all are zero."""
    largest = matrices.abs().amax(axis, keepdim=True)
    return torch.where(largest > 0, largest, 1)


def _apply(operator: TransitionOperator, axes: Tensor) -> Tensor:
    return operator.apply(axes)


def _apply_adjoint(operator: TransitionOperator, axes: Tensor) -> Tensor:
    """A^* X for X (..., H, N, P)."""
    if isinstance(operator, DiagonalPlusRankOne):
        return DiagonalPlusRankOne(operator.log_decay, operator.right, operator.left).apply(axes)
    if isinstance(operator, Dense):
        return operator.matrix.mH.to(axes.dtype) @ axes
    # The rows of X^* are pulled back: (..., P, H, N).
    return operator.apply_left(axes.mH.transpose(-3, -2)).transpose(-3, -2).mH


def in_double(operator: TransitionOperator) -> TransitionOperator:
    """The operator with its tensors in float64 or complex128."""
    wide: dict[str, Tensor] = {}
    for field in fields(cast("Any", operator)):
        value = getattr(operator, field.name)
        if isinstance(value, torch.Tensor):
            wide[field.name] = value.to(torch.promote_types(value.dtype, torch.float64))
    return cast("TransitionOperator", replace(cast("Any", operator), **wide))
