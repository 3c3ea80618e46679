"""Eigenvalues of a transition operator, in discrete or in continuous time.

The two are different types on purpose: |lambda| < 1 is the stability test of the one and
Re lambda < 0 that of the other, and neither has a method for the other's test. A continuous
eigenvalue near -0.8 says nothing about a unit circle until it has been discretised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

Domain = Literal["discrete", "continuous"]


@dataclass(frozen=True)
class DiscreteEigenvalues:
    """Eigenvalues lambda of h_t = A h_{t-1}, kept as log|lambda| and phase.

    Near the unit circle 1 - |lambda| would lose its digits; the logarithm keeps them.

    log_modulus: (..., H, K) log|lambda|, -inf where lambda = 0.
    phase: (..., H, K) in radians, or None where every eigenvalue is real and non-negative.
    multiplicity: how often they occur in the operator: one number for all K, or one for each.
    error_bound: (..., H, K) absolute error of lambda, or None where it is rounding alone.
    """

    log_modulus: Tensor
    phase: Tensor | None = None
    multiplicity: int | tuple[int, ...] = 1
    error_bound: Tensor | None = None

    @property
    def multiplicities(self) -> tuple[int, ...]:
        """How often each of the K occurs."""
        if isinstance(self.multiplicity, tuple):
            return self.multiplicity
        return (self.multiplicity,) * self.log_modulus.shape[-1]

    def by_multiplicity(self) -> Iterator[tuple[DiscreteEigenvalues, int]]:
        """Those that occur equally often, and how often."""
        if isinstance(self.multiplicity, int):
            yield self, self.multiplicity
            return
        for copies in sorted(set(self.multiplicity)):
            here = [k for k, times in enumerate(self.multiplicity) if times == copies]
            yield self._pick(_columns(here), copies), copies

    @property
    def decay_rate(self) -> Tensor:
        """r = -log|lambda|, per step; +0 (never -0, whose inverse is -inf) at |lambda| = 1."""
        return 0 - self.log_modulus

    @property
    def mean_decay_rate(self) -> Tensor:
        """-log|det A| / N per head: (..., H); inf where an eigenvalue is 0."""
        copies = self.log_modulus.new_tensor(self.multiplicities)
        return 0 - (self.log_modulus * (copies / copies.sum())).sum(-1)

    @property
    def modulus(self) -> Tensor:
        """|lambda|."""
        return self.log_modulus.exp()

    @property
    def timescale(self) -> Tensor:
        """1 / r: the steps in which the state decays by a factor e; inf where |lambda| >= 1."""
        return torch.where(self.decay_rate > 0, 1 / self.decay_rate, math.inf)

    @property
    def values(self) -> Tensor:
        """The eigenvalues as complex numbers."""
        phase = torch.zeros_like(self.log_modulus) if self.phase is None else self.phase
        return torch.polar(self.modulus, phase)

    @property
    def spectral_radius(self) -> Tensor:
        """Largest |lambda| per head: (..., H)."""
        return self.modulus.amax(-1)

    def times(self, copies: int) -> DiscreteEigenvalues:
        """The same eigenvalues, each occurring `copies` times as often."""
        if isinstance(self.multiplicity, tuple):
            return replace(self, multiplicity=tuple(copies * own for own in self.multiplicity))
        return replace(self, multiplicity=self.multiplicity * copies)

    def head(self, index: int) -> DiscreteEigenvalues:
        """Those of one head: (..., 1, K)."""
        return self._pick(lambda values: values[..., index : index + 1, :], self.multiplicity)

    def _pick(
        self, pick: Callable[[Tensor], Tensor], multiplicity: int | tuple[int, ...]
    ) -> DiscreteEigenvalues:
        return DiscreteEigenvalues(
            pick(self.log_modulus),
            None if self.phase is None else pick(self.phase),
            multiplicity,
            None if self.error_bound is None else pick(self.error_bound),
        )

    @classmethod
    def from_values(cls, values: Tensor, error_bound: Tensor | None = None) -> DiscreteEigenvalues:
        """From eigenvalues given as real or complex numbers."""
        if not values.is_complex() and bool((values >= 0).all()):
            return cls(values.log(), error_bound=error_bound)
        if values.is_complex():
            phase = values.angle()
        else:
            phase = torch.zeros_like(values).masked_fill(values < 0, math.pi)
        return cls(values.abs().log(), phase, error_bound=error_bound)


def _columns(here: list[int]) -> Callable[[Tensor], Tensor]:
    return lambda values: values[..., here]


@dataclass(frozen=True)
class ContinuousEigenvalues:
    """Eigenvalues of h' = A h, before discretisation: (H, K), real or complex.

    Their unit is one over the unit of the layer's learned step, which has no tokens in it.
    error_bound: (H, K), how far each can be off; None where they are parameters.
    """

    values: Tensor
    multiplicity: int = 1
    error_bound: Tensor | None = None

    @property
    def decay_rate(self) -> Tensor:
        """-Re lambda, per unit of continuous time."""
        return -self.values.real

    @property
    def spectral_abscissa(self) -> Tensor:
        """Largest Re lambda per head: (H,). The system is stable iff it is negative."""
        return self.values.real.amax(-1)
