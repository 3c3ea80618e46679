"""A normal matrix less one of low rank, in continuous time, discretised by the bilinear rule: S4.

    A     = diag(Lambda) - P P^*                                 P: N x r
    A_bar = (I - Delta/2 A)^{-1} (I + Delta/2 A) = 2 (I - Delta/2 A)^{-1} - I

(Gu, Goel & Re 2022, arXiv 2111.00396, section 3.) With E = I - Delta/2 diag(Lambda), Woodbury's
identity gives the inverse:

    (I - Delta/2 A)^{-1} = E^{-1} - E^{-1} P K P^* E^{-1}        K = (2/Delta I + P^* E^{-1} P)^{-1}

The bilinear rule maps an eigenvalue mu of A to (1 + z) / (1 - z), z = Delta mu / 2. Its eigenvalues
are computed from those of A, not of A_bar: A is known as it was stored, without the rounding of an
inverse, and with z at hand the logarithm of an eigenvalue near the unit circle keeps its digits.

These spectra can be very ill-conditioned: S4 starts from HiPPO-LegS, whose eigenvalues -1, ..., -N
are lost to rounding from N = 32 on, but for the slowest. So each comes with a bound on its error.

H channels, N state, r rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
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
class DiagonalPlusLowRank:
    """A_bar of every channel, in complex128; it does not depend on the input.

    poles: (H, N), Lambda. low_rank: (r, H, N), P. step: (H,), Delta > 0. All N entries of the
    state are here; a layer that stores one of each conjugate pair has `from_conjugate_halves`.
    """

    structure: ClassVar[str] = "diagonal_plus_low_rank"
    poles: Tensor
    low_rank: Tensor
    step: Tensor

    @classmethod
    def from_conjugate_halves(
        cls, poles: Tensor, low_rank: Tensor, step: Tensor
    ) -> DiagonalPlusLowRank:
        """The whole A from one of each pair: diag(L, L*) - [P, P*] [P, P*]^*.

        poles: (H, N / 2). low_rank: (r, H, N / 2). step: (H,).
        """
        return cls(
            torch.cat([poles, poles.conj()], -1), torch.cat([low_rank, low_rank.conj()], -1), step
        )

    @property
    def heads(self) -> int:
        """H."""
        return self.poles.shape[0]

    @property
    def state_size(self) -> int:
        """N."""
        return self.poles.shape[1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """(H, N), with error bounds; inf where first-order perturbation theory bounds nothing."""
        mu = self.generator_eigenvalues
        error = self.generator_error
        half_step = self.step.double().unsqueeze(-1) / 2
        z = half_step * mu
        log_modulus = _log_modulus(z)
        # Each eigenvalue is rounded once more where it is written down: modulus, cosine, product.
        rounding = 2 * torch.finfo(torch.float64).eps * log_modulus.exp()
        return DiscreteEigenvalues(
            log_modulus,
            torch.atan2(2 * z.imag, 1 - z.abs().square()),
            error_bound=_bilinear_error(z, half_step * error) + rounding,
        )

    def dense(self) -> Tensor:
        """(H, N, N)."""
        half = self.step.double()[:, None, None] / 2 * self._generator()
        identity = torch.eye(self.state_size, dtype=half.dtype, device=half.device)
        solved: Tensor = torch.linalg.solve(identity - half, identity + half)
        return solved

    def at(self, _t: int) -> DiagonalPlusLowRank:
        """The same for every token."""
        return self

    def apply(self, state: Tensor) -> Tensor:
        """A_bar h for a state (..., H, N, P)."""
        inverse, core, low_rank = self._woodbury
        state = state.to(inverse.dtype)
        resolved = inverse.unsqueeze(-1) * state
        read = torch.einsum("rhn,...hnp->...hrp", low_rank.conj(), resolved)
        fed = torch.einsum("rhn,...hrp->...hnp", low_rank, core @ read)
        return 2 * (resolved - inverse.unsqueeze(-1) * fed) - state

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_bar for rows (..., R, H, N)."""
        inverse, core, low_rank = self._woodbury
        row = row.to(inverse.dtype)
        resolved = row * inverse
        read = torch.einsum("...hn,rhn->...hr", resolved, low_rank)
        fed = torch.einsum("...hr,hrs,shn->...hn", read, core, low_rank.conj())
        return 2 * (resolved - fed * inverse) - row

    def scaled(self, log_factor: Tensor) -> Dense:
        """exp(log_factor_t) A_bar, multiplied out: log_factor (..., H)."""
        return Dense(self.dense() * log_factor.exp()[..., None, None])

    @cached_property
    def generator_error(self) -> Tensor:
        """How far each of `generator_eigenvalues` can be off: (H, N)."""
        norm = torch.linalg.matrix_norm(self._generator())
        return self._generator_error(self.generator_eigenvalues, norm)

    @cached_property
    def generator_eigenvalues(self) -> Tensor:
        """mu, the eigenvalues of A in continuous time: (H, N)."""
        # The two are unitarily similar, so equally well conditioned.
        generator = self._real_generator() if self._in_pairs() else self._generator()
        mu: Tensor = torch.linalg.eigvals(generator)
        return mu

    @cached_property
    def _wide(self) -> tuple[Tensor, Tensor]:
        """Lambda and P in complex128."""
        return self.poles.to(torch.complex128), self.low_rank.to(torch.complex128)

    @cached_property
    def _woodbury(self) -> tuple[Tensor, Tensor, Tensor]:
        """E^{-1} (H, N), K (H, r, r) and P (r, H, N)."""
        poles, low_rank = self._wide
        half_step = self.step.double().unsqueeze(-1) / 2
        inverse = 1 / (1 - half_step * poles)
        gram = torch.einsum("rhn,hn,shn->hrs", low_rank.conj(), inverse, low_rank)
        half_step = half_step.unsqueeze(-1)
        identity = torch.eye(len(low_rank), dtype=gram.dtype, device=gram.device)
        return inverse, half_step * torch.linalg.inv(identity + half_step * gram), low_rank

    def _generator(self) -> Tensor:
        """A, (H, N, N)."""
        poles, low_rank = self._wide
        return torch.diag_embed(poles) - torch.einsum("rhn,rhm->hnm", low_rank, low_rank.conj())

    def _real_generator(self) -> Tensor:
        """A of a state in conjugate pairs, on sqrt(2) times its real and imaginary parts.

        A real eigensolver is several times faster, and its complex eigenvalues are exact pairs.
        """
        poles, low_rank = (_halves(part)[0] for part in self._wide)
        real, imaginary = torch.diag_embed(poles.real), torch.diag_embed(poles.imag)
        rotation = torch.cat(
            [torch.cat([real, -imaginary], -1), torch.cat([imaginary, real], -1)], -2
        )
        parts = torch.cat([low_rank.real, low_rank.imag], -1).movedim(0, -1)
        return torch.baddbmm(rotation, parts, parts.mT, alpha=-2)

    def _in_pairs(self) -> bool:
        """Whether the second half of the state is the conjugate of the first."""
        if self.state_size % 2:
            return False
        halves = [_halves(part) for part in self._wide]
        return all(torch.equal(second, first.conj()) for first, second in halves)

    def _generator_error(self, mu: Tensor, norm: Tensor) -> Tensor:
        """Error bounds (H, N) of the computed eigenvalues mu of A.

        To first order, the eigenvalue's condition number times the backward error of the
        eigensolver, at most N eps |A|_F (Golub & Van Loan, section 7.5; in practice some eps
        |A|_F); inf where that reaches the next eigenvalue.
        """
        backward = self.state_size * torch.finfo(torch.float64).eps * norm.unsqueeze(-1)
        bound = self._condition(mu) * backward
        distance = (mu.unsqueeze(-1) - mu.unsqueeze(-2)).abs()
        distance.diagonal(dim1=-2, dim2=-1).fill_(math.inf)
        return torch.where(bound < distance.amin(-1), bound, math.inf)

    def _condition(self, mu: Tensor) -> Tensor:
        """Condition numbers |x| |y| / |y^* x| (H, N) of eigenvalues mu with eigenvectors x, y.

        The structure gives them without an eigenvector solver: x = (Lambda - mu)^{-1} P c and
        y^* = b^* P^* (Lambda - mu)^{-1}, where I - P^* (Lambda - mu)^{-1} P has c on its right
        and b on its left as null vectors.
        """
        poles, low_rank = self._wide
        gap = poles.unsqueeze(-2) - mu.unsqueeze(-1)
        # A pole that is an eigenvalue to the last digit is its own eigenvector: with these it
        # outweighs all others. In any other case they are beyond float64.
        resolvent = gap.masked_fill_(gap == 0, _TINY**2).reciprocal_()
        low_rank = low_rank + _TINY
        if len(low_rank) == 1:  # b = c = 1
            weight = low_rank[0].abs().square().unsqueeze(-1)
            lengths = (resolvent.abs().square() @ weight).squeeze(-1)
            product = (resolvent.square_() @ weight.to(resolvent.dtype)).squeeze(-1)
        else:
            right, left = _null_vectors(resolvent, low_rank)
            x = resolvent * torch.einsum("rhn,hkr->hkn", low_rank, right)
            y = resolvent * torch.einsum("rhn,hkr->hkn", low_rank.conj(), left.conj())
            lengths = torch.linalg.vector_norm(x, dim=-1) * torch.linalg.vector_norm(y, dim=-1)
            product = (x * y).sum(-1)
        condition: Tensor = lengths / product.abs()
        return condition


#: Its fourth power is still a normal number, as is one over it.
_TINY = 1e-70


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    first, second = values.chunk(2, dim=-1)
    return first, second


def _null_vectors(resolvent: Tensor, low_rank: Tensor) -> tuple[Tensor, Tensor]:
    """c and b of every eigenvalue, (H, K, r) each, from (Lambda - mu)^{-1} (H, K, N)."""
    gram = torch.einsum("rhn,hkn,shn->hkrs", low_rank.conj(), resolvent, low_rank)
    identity = torch.eye(len(low_rank), dtype=gram.dtype, device=gram.device)
    u, _, vh = torch.linalg.svd(identity - gram)
    return vh[..., -1, :].conj(), u[..., -1]


def _log_modulus(z: Tensor) -> Tensor:
    """log|(1 + z) / (1 - z)|, with its digits near the unit circle."""
    # |1 + z|^2 = |1 - z|^2 + 4 Re z.
    change = 4 * z.real / (1 - z).abs().square()
    near = change.abs() < 0.5
    apart = (1 + z).abs().log() - (1 - z).abs().log()
    return torch.where(near, torch.log1p(torch.where(near, change, 0.0)) / 2, apart)


def _bilinear_error(z: Tensor, error: Tensor) -> Tensor:
    """How far (1 + z) / (1 - z) moves when z moves by up to `error`.

    The images of z and w differ by 2 (w - z) / ((1 - z)(1 - w)): the derivative, with the far end
    of the disc in its denominator. inf where the disc reaches z = 1.
    """
    distance = (1 - z).abs()
    rest = distance - error
    return torch.where(rest > 0, 2 * error / (distance * rest), math.inf)
