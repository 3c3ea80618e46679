"""Lyapunov exponents: how fast the product of a sequence's transitions shrinks.

    A_T ... A_2 A_1 = Q_T R_T ... R_2 R_1        A_t Q_{t-1} = Q_t R_t,  Q_0 = I

    exponent_i = 1/T sum_t log|(R_t)_ii|

per step and head, i = 1 .. N (Benettin et al. 1980; Eckmann & Ruelle 1985, section 5). This is
log|R_ii| / T of the QR decomposition of the whole product, at any T. Their sum is the mean of
log|det A_t|; as T grows they become the logarithms of the product's singular values over T, which
eigenvalues of single A_t do not tell unless the A_t commute.

Where the A_t do commute (scalar, diagonal and rotated operators) the exponents are the means of
log|lambda|, and an operator that does not depend on the input has log|lambda| itself. A change of
gauge h -> s_t h moves all exponents of a head by log(s_T / s_0) / T, which vanishes for bounded s.

Each sequence is a product of its own, of its valid tokens; exponents of several are averaged,
weighted by their tokens. B batch, T tokens, H heads, N state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.operators import DiagonalDecay, ScalarDecay, SeparableDecay
from spectrakit.dynamics.qr_growth import qr_growth
from spectrakit.dynamics.rotated_decay import RotatedDecay

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class LyapunovExponents:
    """Exponents (H, K) per step, each head's falling, -inf where the product is singular.

    multiplicity: (H, K), how often each occurs. tokens: how many transitions they are the mean of;
    None for an operator that does not depend on tokens.
    """

    exponents: Tensor
    multiplicity: Tensor
    tokens: int | None = None

    @property
    def timescale(self) -> Tensor:
        """-1 / exponent: steps in which a direction shrinks by a factor e, inf if it never does."""
        return torch.where(self.exponents < 0, -1 / self.exponents, math.inf)

    def times(self, copies: int) -> LyapunovExponents:
        """The same exponents, each occurring `copies` times as often."""
        return replace(self, multiplicity=self.multiplicity * copies)

    @classmethod
    def of_constant(cls, eigenvalues: DiscreteEigenvalues) -> LyapunovExponents:
        """log|lambda| of an operator (H, K) that is the same at every token."""
        log_modulus = eigenvalues.log_modulus.double()
        return cls._falling(log_modulus, torch.tensor(eigenvalues.multiplicities))

    @classmethod
    def _falling(
        cls, exponents: Tensor, multiplicity: Tensor, tokens: int | None = None
    ) -> LyapunovExponents:
        exponents, order = exponents.sort(-1, descending=True)
        return cls(exponents, multiplicity.expand_as(order).gather(-1, order), tokens)


class LyapunovSum:
    """Adds up log growth over sequences; `exponents` is its mean over tokens."""

    def __init__(self) -> None:
        self.tokens = 0
        self._growth: Tensor | None = None
        self._multiplicity = 1

    def add(self, operator: TransitionOperator, valid: Tensor) -> None:
        """Take in sequences: an operator with leading axes (B, T), and its valid tokens (B, T).

        Tokens that are not valid are left out of the product. Every call brings whole sequences:
        what was added before is not continued.

        Raises FloatingPointError where the growth of some head is NaN or infinite.
        """
        growth, self._multiplicity = _log_growth(operator, valid)
        if bool((growth.isnan() | growth.isposinf()).any()):
            message = "a transition is NaN or infinite"
            raise FloatingPointError(message)
        self._growth = growth if self._growth is None else self._growth + growth
        self.tokens += int(valid.sum())

    def merge(self, other: LyapunovSum) -> None:
        """Take in what `other` added up over other sequences of the same layer."""
        if other._growth is None:
            return
        self._growth = other._growth if self._growth is None else self._growth + other._growth
        self._multiplicity = other._multiplicity
        self.tokens += other.tokens

    def exponents(self) -> LyapunovExponents:
        """The mean growth per token, falling. Raises ValueError where no token was added."""
        if self._growth is None or self.tokens == 0:
            message = "no valid token was added"
            raise ValueError(message)
        multiplicity = torch.tensor([self._multiplicity], device=self._growth.device)
        return LyapunovExponents._falling(self._growth / self.tokens, multiplicity, self.tokens)


def _log_growth(operator: TransitionOperator, valid: Tensor) -> tuple[Tensor, int]:
    """sum_t log|(R_t)_ii| over all valid tokens (H, K), and how often each of the K occurs."""
    if isinstance(operator, ScalarDecay | RotatedDecay):
        return _total(operator.log_decay, valid).unsqueeze(-1), operator.state_size
    if isinstance(operator, DiagonalDecay):
        return _total(operator.log_decay, valid), 1
    if isinstance(operator, SeparableDecay):
        # The steps add up before they meet the rates: (B, T, H, N) is never there.
        return -_total(operator.step, valid).unsqueeze(-1) * operator.rate.double(), 1
    return qr_growth(operator, valid), 1


def _total(values: Tensor, valid: Tensor) -> Tensor:
    """Sum of (B, T, ...) over valid tokens, in float64."""
    mask = valid.view(*valid.shape, *[1] * (values.dim() - 2))
    return torch.where(mask, values, 0).sum((0, 1), dtype=torch.float64)
