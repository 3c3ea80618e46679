"""The poles that the memory of a system depends on, from the eigenvalues of its A.

The impulse responses of a system with the distinct eigenvalues lambda_i span all lambda_i^tau,
whatever B and the basis are. Which poles that makes:

- Input and output are real, so the read-out of a complex state reaches its conjugate too: a pole
  has its conjugate beside it, whether it was stored or not. A real pole is its own.
- A diagonalisable A holds an input once per distinct eigenvalue: copies see the same input and
  remember the same. So do phases a whole turn apart, which a coarse step makes of high frequencies
  (S4D-Lin with a step of 0.1 has 20 different poles, however large). In a Jordan block (a shift
  register) every copy counts.

H systems, K poles of each at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.delta import DeltaRule
from spectrakit.dynamics.delta_product import DeltaProduct
from spectrakit.dynamics.diagonal_plus_low_rank import DiagonalPlusLowRank
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.dynamics.operators import (
    Dense,
    DiagonalDecay,
    ScalarDecay,
    SeparableDecay,
    UnknownOperatorError,
)
from spectrakit.dynamics.rotated_decay import RotatedDecay
from spectrakit.dynamics.shift import ShiftRegister

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")

#: Two phases this close are one: what float64 leaves of a phase of some hundred radians, wrapped.
_SAME_PHASE = 2.0**-45
#: So are two log|lambda| with this relative difference.
_SAME_LOG = 2.0**-50

#: log|lambda| of what underflows to zero: a number, so that differences of two are one.
_ZERO = -1e4


@dataclass(frozen=True)
class Poles:
    """Poles of H single-input systems; all tensors (H, K), in float64.

    log_modulus: log|lambda|. phase: in radians within (-pi, pi], None where no pole is complex or
    negative. counts: of bool, False where a system has fewer than K poles.
    """

    log_modulus: Tensor
    phase: Tensor | None
    counts: Tensor

    @classmethod
    def distinct(cls, eigenvalues: DiscreteEigenvalues) -> Poles:
        """Those of a diagonalisable A with `eigenvalues` (H, K): each once, conjugates included."""
        log_modulus, phase = _cleaned(eigenvalues)
        if phase is not None:
            log_modulus = torch.cat([log_modulus, log_modulus], -1)
            phase = torch.cat([phase, principal(-phase)], -1)
        log_modulus, order = log_modulus.sort(stable=True, dim=-1, descending=True)
        phase = None if phase is None else phase.gather(-1, order)
        first = torch.ones(log_modulus.shape[-1:] * 2, device=order.device)
        again = (_same(log_modulus, phase) & (first.tril(-1) > 0)).any(-1)
        return cls(log_modulus, phase, ~again)._packed()

    @classmethod
    def every(cls, eigenvalues: DiscreteEigenvalues) -> Poles:
        """All of a cyclic A with `eigenvalues` (H, K), as often as they occur."""
        log_modulus, phase = _cleaned(eigenvalues)
        copies = torch.tensor(eigenvalues.multiplicities, device=log_modulus.device)
        log_modulus = log_modulus.repeat_interleave(copies, -1)
        phase = None if phase is None else phase.repeat_interleave(copies, -1)
        return cls(log_modulus, phase, torch.ones_like(log_modulus, dtype=torch.bool))

    @property
    def rank(self) -> Tensor:
        """How many poles each system has: (H,)."""
        return self.counts.sum(-1)

    @property
    def are_real(self) -> bool:
        """Whether every pole is real."""
        return self.phase is None or bool(((self.phase == 0) | (self.phase == math.pi)).all())

    @property
    def values(self) -> Tensor:
        """The poles as numbers, real where all are, zero where none counts."""
        modulus = self.log_modulus.exp() * self.counts
        if self.phase is None:
            return modulus
        if self.are_real:
            return torch.where(self.phase == 0, modulus, -modulus)
        return torch.polar(modulus, self.phase)

    @property
    def weight(self) -> Tensor:
        """sqrt(1 - |lambda|^2) with the digits of log|lambda|; zero where none counts."""
        return (-torch.expm1(2 * self.log_modulus)).clamp(min=0).sqrt() * self.counts

    @property
    def decaying(self) -> Tensor:
        """Whether every pole of a system is inside the unit circle: (H,)."""
        return ((self.log_modulus < 0) | ~self.counts).all(-1)

    def of(self, systems: slice | Tensor) -> Poles:
        """The poles of some of the systems."""
        phase = None if self.phase is None else self.phase[systems]
        return Poles(self.log_modulus[systems], phase, self.counts[systems])

    def mean_delay(self) -> Tensor:
        """sum_tau tau MF(tau) / K over an infinite past, (H,); inf unless every pole decays.

        sum_i |l_i|^2 / (1 - |l_i|^2) + sum_{i<j} (1 - |l_i l_j|^2) / |1 - l_i l_j^*|^2, which
        follows from the group delay of the all-pass cascade. Our own; tested against sums.
        """
        log_product = self.log_modulus.unsqueeze(-1) + self.log_modulus.unsqueeze(-2)
        distance = torch.expm1(log_product).square()
        if self.phase is not None:
            angle = self.phase.unsqueeze(-1) - self.phase.unsqueeze(-2)
            distance = distance + 4 * log_product.exp() * torch.sin(angle / 2).square()
        pairs = -torch.expm1(2 * log_product) / distance
        pairs = pairs * (self.counts.unsqueeze(-1) & self.counts.unsqueeze(-2))
        own = pairs.diagonal(dim1=-2, dim2=-1)
        total = (pairs.sum((-2, -1)) - own.sum(-1)) / 2
        total = total + (1 / torch.expm1(-2 * self.log_modulus) * self.counts).sum(-1)
        return torch.where(self.decaying, total / self.rank.clamp(min=1), math.inf)

    def _packed(self) -> Poles:
        """Those that count first, and no more columns than the largest system needs."""
        order = (~self.counts).long().argsort(dim=-1, stable=True)[..., : int(self.rank.max())]
        phase = None if self.phase is None else self.phase.gather(-1, order)
        return Poles(self.log_modulus.gather(-1, order), phase, self.counts.gather(-1, order))


@singledispatch
def poles_of(operator: TransitionOperator) -> Poles:
    """Those that the memory of an operator (H,) depends on, B and C in general position.

    Its eigenvalues do not tell: a multiple one counts once where A is diagonalisable
    (`Poles.distinct`), and as often as it occurs where one Jordan block has it (`Poles.every`).

    Raises UnknownOperatorError where none is registered for the operator.
    """
    unknown = "whether it is diagonalisable, or has Jordan blocks"
    raise UnknownOperatorError(operator, poles_of, unknown)


def _distinct(operator: TransitionOperator) -> Poles:
    return Poles.distinct(operator.eigenvalues())


def _every(operator: TransitionOperator) -> Poles:
    return Poles.every(operator.eigenvalues())


for _diagonalisable in (
    ScalarDecay,
    DiagonalDecay,
    SeparableDecay,
    RotatedDecay,
    DeltaRule,
    DeltaProduct,
    DiagonalPlusRankOne,
):
    poles_of.register(_diagonalisable, _distinct)
for _cyclic in (DiagonalPlusLowRank, Dense, ShiftRegister):
    poles_of.register(_cyclic, _every)


def _cleaned(eigenvalues: DiscreteEigenvalues) -> tuple[Tensor, Tensor | None]:
    """log|lambda| and phase in float64, a number for zero, and one name for each real pole.

    Raises FloatingPointError where an eigenvalue is NaN or infinite.
    """
    log_modulus = eigenvalues.log_modulus.double()
    phase = None if eigenvalues.phase is None else eigenvalues.phase.double()
    bad = log_modulus.isnan() | log_modulus.isposinf()
    if phase is not None:
        bad |= ~phase.isfinite()
    if bool(bad.any()):
        message = "an eigenvalue is NaN or infinite"
        raise FloatingPointError(message)
    log_modulus = log_modulus.clamp(min=_ZERO)
    if phase is None or not bool((phase != 0).any()):
        return log_modulus, None
    return log_modulus, principal(phase.masked_fill(log_modulus == _ZERO, 0))


def _same(log_modulus: Tensor, phase: Tensor | None) -> Tensor:
    """Which pairs of poles are one but for rounding: (H, K, K)."""
    difference = (log_modulus.unsqueeze(-1) - log_modulus.unsqueeze(-2)).abs()
    same: Tensor = difference <= _SAME_LOG * log_modulus.abs().unsqueeze(-1)
    if phase is None:
        return same
    angle = phase.unsqueeze(-1) - phase.unsqueeze(-2)
    return same & (torch.sin(angle / 2).abs() <= _SAME_PHASE / 2)


def principal(phase: Tensor) -> Tensor:
    """+0 and +pi in place of -0 and -pi."""
    return torch.where(phase == -math.pi, math.pi, phase) + 0.0
