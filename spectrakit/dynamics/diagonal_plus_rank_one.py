"""A diagonal decay less a matrix of rank one: Kimi delta attention, RWKV-7.

    A_t = diag(exp(log_decay_t)) - u_t v_t^T

    Kimi delta attention  A_t = (I - beta k k^T) diag(alpha)     u = beta k      v = alpha k
    RWKV-7                A_t = diag(w) - (a k) k^T              u = a k         v = k

(Kimi Team 2025, arXiv 2510.26692; Peng et al. 2025, arXiv 2503.14456.) Where u_i v_i >= 0 for all
i, A_t is similar to the symmetric

    S_t = diag(exp(log_decay_t)) - s s^T        s_i = sqrt(u_i v_i)

by diag(sqrt(u_i / v_i)): both have the characteristic polynomial
prod_i (d_i - x) (1 - sum_i u_i v_i / (d_i - x)). So the eigenvalues are real, `secular` finds them
as roots of the last factor, and they interlace with the decays d_1 <= ... <= d_N:

    d_1 - |s|^2 <= lambda_1 <= d_1 <= lambda_2 <= d_2 <= ... <= lambda_N <= d_N

... leading axes as in `operators`, H heads, N state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
from spectrakit.dynamics.secular import secular_roots

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Numbers in the matrices whose eigenvalues are computed at once: 8 MiB of float64.
_BLOCK_NUMBERS = 1 << 20
#: Eigenvalues that are computed at once: dozens of arrays of 2 MiB, which stay in a cache.
_BLOCK_EIGENVALUES = 1 << 18


@dataclass(frozen=True)
class DiagonalPlusRankOne:
    """A_t = diag(exp(log_decay_t)) - left_t right_t^T: log_decay, left, right (..., H, N)."""

    structure: ClassVar[str] = "diagonal_plus_rank_one"
    log_decay: Tensor
    left: Tensor
    right: Tensor

    @classmethod
    def decay_then_erase(cls, log_decay: Tensor, beta: Tensor, key: Tensor) -> DiagonalPlusRankOne:
        """(I - beta k k^T) diag(exp(log_decay)): log_decay, key (..., H, N), beta (..., H)."""
        return cls(log_decay, beta.unsqueeze(-1) * key, log_decay.exp() * key)

    @property
    def heads(self) -> int:
        """H."""
        return self.log_decay.shape[-2]

    @property
    def state_size(self) -> int:
        """N."""
        return self.log_decay.shape[-1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """(..., H, N), rising where they are real, in float64.

        Where some u_i v_i is negative the eigenvalues need not be real, and a general eigensolver
        finds them.

        Raises FloatingPointError where an entry is NaN or infinite.
        """
        log_decay, left, right = (part.double() for part in (self.log_decay, self.left, self.right))
        weight = left * right
        if not bool(weight.isfinite().all() & log_decay.exp().isfinite().all()):
            message = "an entry of A is NaN or infinite"
            raise FloatingPointError(message)
        if bool((weight >= 0).all()):
            return _symmetric_eigenvalues(log_decay, weight)
        values = _in_blocks(torch.linalg.eigvals, log_decay.exp(), left, right)
        return DiscreteEigenvalues.from_values(values)

    def dense(self) -> Tensor:
        """(..., H, N, N)."""
        return _diagonal_less_product(self.log_decay.exp(), self.left, self.right)

    def at(self, t: int) -> DiagonalPlusRankOne:
        """The decays and vectors of token `t`."""
        return DiagonalPlusRankOne(self.log_decay[:, t], self.left[:, t], self.right[:, t])

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        stored = self.right.unsqueeze(-2).to(state.dtype) @ state
        return self.log_decay.exp().unsqueeze(-1) * state - self.left.unsqueeze(-1) * stored

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        along = (row * self.left.unsqueeze(-3)).sum(-1, keepdim=True)
        return row * self.log_decay.exp().unsqueeze(-3) - along * self.right.unsqueeze(-3)

    def scaled(self, log_factor: Tensor) -> DiagonalPlusRankOne:
        """exp(log_factor_t) A_t, log_factor (..., H)."""
        log_factor = log_factor.unsqueeze(-1)
        return DiagonalPlusRankOne(
            self.log_decay + log_factor, log_factor.exp() * self.left, self.right
        )


def _diagonal_less_product(diagonal: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """diag(d) - u v^T: (..., N, N)."""
    matrix = -left.unsqueeze(-1) * right.unsqueeze(-2)
    matrix.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    return matrix


def _in_blocks(
    solve: Callable[[Tensor], Tensor], diagonal: Tensor, left: Tensor, right: Tensor
) -> Tensor:
    """Eigenvalues of diag(d) - u v^T, d, u and v (..., N), a few matrices at a time: (..., N).

    All matrices of a layer's tokens at once would need gigabytes.
    """
    size = diagonal.shape[-1]
    count = max(1, _BLOCK_NUMBERS // size**2)
    parts = (part.reshape(-1, size).split(count) for part in (diagonal, left, right))
    solved = [solve(_diagonal_less_product(*block)) for block in zip(*parts, strict=True)]
    return torch.cat(solved).view(diagonal.shape)


def _symmetric_eigenvalues(log_decay: Tensor, weight: Tensor) -> DiscreteEigenvalues:
    """Of diag(exp(log_decay)) - s s^T with s_i^2 = weight_i >= 0, rising: (..., N)."""
    size = log_decay.shape[-1]
    rows = max(1, _BLOCK_EIGENVALUES // size)
    parts = (part.reshape(-1, size).split(rows) for part in (log_decay, weight))
    solved = [_moduli_and_signs(*block) for block in zip(*parts, strict=True)]
    log_modulus, negative = (
        torch.cat(part).view(log_decay.shape) for part in zip(*solved, strict=True)
    )
    phase = torch.zeros_like(log_modulus).masked_fill_(negative, math.pi)
    return DiscreteEigenvalues(log_modulus, phase if bool(negative.any()) else None)


def _moduli_and_signs(log_decay: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """log|lambda|, and whether lambda is negative, as only the smallest can be: (M, N) each."""
    log_decay, order = log_decay.sort(-1)
    origin, offset = secular_roots(log_decay, weight.gather(-1, order))
    log_pole = log_decay.gather(-1, origin)
    pole = log_pole.exp()
    value = pole + offset
    negative = torch.zeros_like(value, dtype=torch.bool)
    negative[:, 0] = value[:, 0] < 0
    change = offset / pole.clamp(min=torch.finfo(pole.dtype).tiny)
    log_modulus = torch.where(
        change.abs() <= 0.5, log_pole + torch.log1p(change.clamp(-0.5, 0.5)), value.abs().log()
    )
    # What the logarithms' rounding put outside the interlacing intervals belongs on their ends.
    inside = log_modulus.minimum(log_decay)
    inside[:, 1:] = inside[:, 1:].maximum(log_decay[:, :-1])
    return torch.where(negative, log_modulus, inside), negative
