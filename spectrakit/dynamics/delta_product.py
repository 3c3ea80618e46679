"""Several erasures a token, after a decay of the whole state: DeltaProduct.

    A_t = exp(log_decay_t) (I - b_n k_n k_n^T) ... (I - b_1 k_1 k_1^T)        n factors, each of t

(Siems et al. 2025, arXiv 2502.10297; with a decay it is Gated DeltaProduct.) With the keys as the
rows of K (n, N) and beta = diag(b), the product is the identity less a matrix of rank n,

    prod = I - K^T T K        T = (I + beta stril(K K^T))^{-1} beta        T: (n, n)

the WY form of a product of Householder factors (Bischof & Van Loan 1987), so that exp(log_decay_t)
is an eigenvalue N - n times and the others are

    exp(log_decay_t) (1 - mu)        mu an eigenvalue of T K K^T

One factor is the delta rule. Two of them need not commute: A_t is not symmetric and mu can be
complex. Two reflections (b = 2, keys of length one) are a rotation by twice the angle between them.

A token's n values are written one after the other, each before the erasures that follow it: value j
along row j of T^T K.

... leading axes as in `operators`, H heads, N state, n factors.
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
class DeltaProduct:
    """A_t = exp(log_decay_t) prod_j (I - b_j k_j k_j^T), the first factor applied first.

    log_decay: (..., H). beta: (..., H, n). key: (..., H, n, N), as they enter A_t: normalised by
    the caller where the layer normalises them.
    """

    structure: ClassVar[str] = "delta_product"
    log_decay: Tensor
    beta: Tensor
    key: Tensor

    @property
    def heads(self) -> int:
        """H."""
        return self.key.shape[-3]

    @property
    def factors(self) -> int:
        """How many a token has: n."""
        return self.key.shape[-2]

    @property
    def state_size(self) -> int:
        """N."""
        return self.key.shape[-1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """Across all keys, N - n times, then the others: (..., H, 1 + n), in float64.

        (..., H, N) where there are no fewer keys than states.

        Raises FloatingPointError where an entry is NaN or infinite.
        """
        wide = DeltaProduct(self.log_decay.double(), self.beta.double(), self.key.double())
        erased = wide._erased()
        if not bool(erased.isfinite().all() & wide.log_decay.exp().isfinite().all()):
            message = "an entry of A is NaN or infinite"
            raise FloatingPointError(message)
        mu = torch.linalg.eigvals(erased)
        across = self.state_size - mu.shape[-1]
        if across:
            mu = torch.cat([torch.zeros_like(mu[..., :1]), mu], -1)
        phase = _phase_from_one(mu)
        return DiscreteEigenvalues(
            wide.log_decay.unsqueeze(-1) + _log_distance_to_one(mu),
            phase if bool(phase.any()) else None,
            (across, *(1,) * self.factors) if across else 1,
        )

    def _erased(self) -> Tensor:
        """What has the eigenvalues mu: T K K^T (..., H, n, n), or K^T T K (..., H, N, N)."""
        if self.factors < self.state_size:
            return self._solved(self.key @ self.key.mT)
        return self.key.mT @ self._solved(self.key)

    def _solved(self, right: Tensor) -> Tensor:
        """T X for X (..., H, n, M)."""
        beta = self.beta.unsqueeze(-1)
        lower = (beta * (self.key @ self.key.mT)).tril(-1)
        solved: Tensor = torch.linalg.solve_triangular(
            lower, beta * right, upper=False, unitriangular=True
        )
        return solved

    def write_keys(self) -> Tensor:
        """T^T K: what one unit of each of a token's n values adds to the state, (..., H, n, N)."""
        identity = torch.eye(self.factors, dtype=self.key.dtype, device=self.key.device)
        return self._solved(identity.expand(*self.key.shape[:-1], -1)).mT @ self.key

    def dense(self) -> Tensor:
        """(..., H, N, N)."""
        return self.apply(torch.eye(self.state_size, dtype=self.key.dtype, device=self.key.device))

    def at(self, t: int) -> DeltaProduct:
        """The decay, betas and keys of token `t`."""
        return DeltaProduct(self.log_decay[:, t], self.beta[:, t], self.key[:, t])

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        for beta, key in self._in_order():
            stored = (key.unsqueeze(-2).to(state.dtype) @ state).squeeze(-2)
            state = state - (beta.unsqueeze(-1) * key).unsqueeze(-1) * stored.unsqueeze(-2)
        return self.log_decay.exp()[..., None, None] * state

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        for beta, key in reversed(self._in_order()):
            key = key.unsqueeze(-3)
            along = (row * key).sum(-1, keepdim=True) * beta[..., None, :, None]
            row = row - along * key
        return self.log_decay.exp()[..., None, :, None] * row

    def _in_order(self) -> list[tuple[Tensor, Tensor]]:
        """Beta (..., H) and key (..., H, N) of every factor, the first one first."""
        return list(zip(self.beta.unbind(-1), self.key.unbind(-2), strict=True))

    def scaled(self, log_factor: Tensor) -> DeltaProduct:
        """exp(log_factor_t) A_t, log_factor (..., H)."""
        return DeltaProduct(self.log_decay + log_factor, self.beta, self.key)


def _log_distance_to_one(mu: Tensor) -> Tensor:
    """log|1 - mu| of complex mu, with the digits of a small one; -inf at mu = 1."""
    change = mu.abs().square() - 2 * mu.real  # |1 - mu|^2 - 1
    near = change.abs() < 0.5
    return torch.where(near, torch.log1p(torch.where(near, change, 0.0)) / 2, (1 - mu).abs().log())


def _phase_from_one(mu: Tensor) -> Tensor:
    """The angle of 1 - mu; pi, never -pi, where it is real and negative."""
    turned = torch.where(mu.real > 1, math.pi, torch.zeros_like(mu.real))
    return torch.where(mu.imag == 0, turned, torch.atan2(-mu.imag, 1 - mu.real))
