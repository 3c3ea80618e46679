"""Lyapunov exponents: how fast the product of a sequence's transitions shrinks.

    exponent_i = 1/T log sigma_i(A_T ... A_2 A_1)        sigma_1 >= sigma_2 >= ... >= sigma_N

per step and head: the finite-time exponents (Eckmann & Ruelle 1985, section 5), from the singular
values of the product (`product_growth`). They do not depend on the basis of the state as long as it
is orthonormal, at any T, and sum to the mean of log|det A_t|. Eigenvalues of single A_t do not tell
them unless the A_t commute.

Where the A_t do commute (scalar, diagonal and rotated operators) the exponents are the means of
log|lambda| over the sequence, and an operator that does not depend on the input has log|lambda|
itself, the limit of long sequences. A change of gauge h -> s_t h moves all exponents of a head by
log(s_T / s_0) / T, which vanishes for bounded s.

Each sequence is a product of its own, of its valid tokens, and so is each part of one between
tokens at which the state starts anew. Exponents are sorted in each, and then averaged, weighted by
their tokens: the i-th is the mean of the i-th largest. A singular value that is exactly zero has an
exponent of -inf. It is counted, and left out of the mean.

B batch, T tokens, H heads, N state, K distinct exponents of a head, S sequences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.operators import DiagonalDecay, ScalarDecay, SeparableDecay
from spectrakit.dynamics.product_growth import product_growth
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
    """Exponents (H, K) per step, each head's falling; -inf where the product is always singular.

    multiplicity: (H, K), how often each occurs. tokens: the transitions of all sequences, and
    sequences: how many those are; None for an operator that does not depend on tokens. erased:
    (H, K), the sequences in which the exponent is -inf, which its mean leaves out. change: (H, K),
    the most that the exponent of a sequence moved in the last of the `sweeps` that it took to find
    it; 0 and no sweeps where it has a closed form.
    """

    exponents: Tensor
    multiplicity: Tensor
    tokens: int | None
    sequences: int | None
    erased: Tensor
    change: Tensor
    sweeps: int

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
        exponents, order = eigenvalues.log_modulus.double().sort(-1, descending=True)
        copies = torch.tensor(eigenvalues.multiplicities, device=order.device)
        nothing = torch.zeros_like(order)
        return cls(
            exponents,
            copies.expand_as(order).gather(-1, order),
            tokens=None,
            sequences=None,
            erased=nothing,
            change=nothing.double(),
            sweeps=0,
        )


@dataclass(frozen=True)
class _Total:
    """Of sequences: sums of log growth and of tokens where it is finite, and counts; (H, K) each.

    change: the largest; see `LyapunovExponents`.
    """

    growth: Tensor
    grown_tokens: Tensor
    erased: Tensor
    change: Tensor
    sweeps: int
    multiplicity: int

    def plus(self, other: _Total) -> _Total:
        return _Total(
            self.growth + other.growth,
            self.grown_tokens + other.grown_tokens,
            self.erased + other.erased,
            self.change.maximum(other.change),
            max(self.sweeps, other.sweeps),
            self.multiplicity,
        )


class LyapunovSum:
    """Adds up log growth over sequences; `exponents` is its mean over tokens."""

    def __init__(self) -> None:
        self.tokens = 0
        self.sequences = 0
        self._total: _Total | None = None

    def add(
        self, operator: TransitionOperator, valid: Tensor, starts: Tensor | None = None
    ) -> None:
        """Take in sequences: an operator with leading axes (B, T), and its valid tokens (B, T).

        Tokens that are not valid are left out of the product. starts: (B, T), tokens whose state
        before them is empty: they are left out as well, and the product begins anew after them.
        Every call brings whole sequences: what was added before is not continued.

        Raises FloatingPointError where the growth of some head is NaN or infinite.
        """
        parts = _parts(valid, starts)
        tokens = _counts(parts)
        if len(tokens) == 0:
            return
        grown = growth_of(operator, parts)
        total = grown.sorted_total(tokens)
        self._total = total if self._total is None else self._total.plus(total)
        self.tokens += int(tokens.sum())
        self.sequences += len(tokens)

    def exponents(self) -> LyapunovExponents:
        """The mean growth per token, falling. Raises ValueError where no token was added."""
        total = self._total
        if total is None:
            message = "no valid token was added"
            raise ValueError(message)
        mean = total.growth / total.grown_tokens.clamp(min=1)
        return LyapunovExponents(
            torch.where(total.grown_tokens > 0, mean, -math.inf),
            torch.full_like(total.erased, total.multiplicity),
            tokens=self.tokens,
            sequences=self.sequences,
            erased=total.erased,
            change=total.change,
            sweeps=total.sweeps,
        )


@dataclass(frozen=True)
class Growth:
    """log growth (S, H, K) of the products of S parts, each as often as `multiplicity` says.

    change: (S, H), see `ProductGrowth`; None, and no sweeps, where it has a closed form.
    """

    growth: Tensor
    multiplicity: int = 1
    change: Tensor | None = None
    sweeps: int = 0

    def sorted_total(self, tokens: Tensor) -> _Total:
        """Of all of them, whose tokens are (S,). Raises FloatingPointError on NaN and +inf."""
        growth = self.growth.sort(-1, descending=True).values
        if bool((growth.isnan() | growth.isposinf()).any()):
            message = "a transition is NaN or infinite"
            raise FloatingPointError(message)
        finite = growth.isfinite()
        change = torch.zeros_like(growth[0])
        if self.change is not None:
            change = change + self.change.amax(0).unsqueeze(-1)
        return _Total(
            torch.where(finite, growth, 0).sum(0),
            (finite * tokens.view(-1, 1, 1)).sum(0),
            (~finite).sum(0),
            change,
            self.sweeps,
            self.multiplicity,
        )


def _parts(valid: Tensor, starts: Tensor | None) -> Tensor:
    """Which sequence each token (B, T) belongs to, -1 for those of none: numbers without a gap."""
    number = torch.arange(len(valid), device=valid.device).unsqueeze(-1).expand_as(valid)
    if starts is not None:
        starts = starts & valid
        number = number + starts.flatten().cumsum(0).view_as(number)
        valid = valid & ~starts
    part = torch.full_like(number, -1)
    part[valid] = torch.unique(number[valid], return_inverse=True)[1]
    return part


def _counts(parts: Tensor) -> Tensor:
    """Tokens of each part: (S,)."""
    return torch.bincount(parts[parts >= 0])


@singledispatch
def growth_of(operator: TransitionOperator, parts: Tensor) -> Growth:
    """Of the product of the transitions of every part of a batch of sequences.

    operator: with leading axes (B, T). parts: (B, T), the number of the part that a token belongs
    to, -1 for those of none. By default from the transitions, see `product_growth`, which is right
    for every operator; those that commute have closed forms.
    """
    # Of every row its first part at once, then its second: mostly there is but one.
    found, changes, order, sweeps = [], [], [], 0
    for chosen in _rounds(parts):
        rows = chosen.any(-1)
        product = product_growth(operator, chosen)
        found.append(product.log_values[rows])
        changes.append(product.change[rows])
        order.append(parts.where(chosen, -1).amax(-1)[rows])
        sweeps = max(sweeps, product.sweeps)
    place = torch.cat(order).argsort()
    return Growth(torch.cat(found)[place], 1, torch.cat(changes)[place], sweeps)


@growth_of.register(ScalarDecay)
@growth_of.register(RotatedDecay)
def _(operator: ScalarDecay | RotatedDecay, parts: Tensor) -> Growth:
    return Growth(sum_by_part(operator.log_decay, parts).unsqueeze(-1), operator.state_size)


@growth_of.register(DiagonalDecay)
def _(operator: DiagonalDecay, parts: Tensor) -> Growth:
    return Growth(sum_by_part(operator.log_decay, parts))


@growth_of.register(SeparableDecay)
def _(operator: SeparableDecay, parts: Tensor) -> Growth:
    # The steps add up before they meet the rates: (B, T, H, N) is never there.
    return Growth(-sum_by_part(operator.step, parts).unsqueeze(-1) * operator.rate.double())


def _rounds(parts: Tensor) -> Iterator[Tensor]:
    """Tokens (B, T) that hold at most one part of each row; together, all parts."""
    left = parts.clone()
    while bool((left >= 0).any()):
        first = left.where(left >= 0, left.max() + 1).amin(-1, keepdim=True)
        chosen = (left == first) & (left >= 0)
        yield chosen
        left[chosen] = -1


def sum_by_part(values: Tensor, parts: Tensor) -> Tensor:
    """Sum of (B, T, ...) over the tokens of every part, in float64: (S, ...)."""
    there = parts >= 0
    count = len(_counts(parts))
    rows = there.any(-1)
    if count == int(rows.sum()):  # a part is what is valid of a row
        mask = there.view(*there.shape, *[1] * (values.dim() - 2))
        return torch.where(mask, values, 0).sum(1, dtype=torch.float64)[rows]
    total = torch.zeros(count, *values.shape[2:], dtype=torch.float64, device=values.device)
    return total.index_add_(0, parts[there], values[there].double())
