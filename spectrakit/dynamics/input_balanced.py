"""Realisations whose states are orthonormal for white input: (A, B) with A A^H + B B^H = I.

One input, poles lambda_k: the Takenaka-Malmquist cascade of all-pass sections. With
w_k = sqrt(1 - |lambda_k|^2),

    A_ij = w_i w_j prod_{j<k<i} (-lambda_k^*)   i > j        A_ii = lambda_i
    B_i  = w_i prod_{k<i} (-lambda_k^*)

Nothing is inverted or subtracted: every entry has its digits for poles that cluster, repeat, are
zero, or lie near the unit circle, where Gramians are singular in float64.

Powers of A keep them too, if their diagonal, lambda^tau, is taken in closed form: off the diagonal
A^tau is graded as w_i w_j is, and its rounding with it. That can grow by tau |lambda|^tau at most,
and tau w^2 |lambda|^tau never exceeds 2 / e.

Takenaka 1925, Malmquist 1926; as an orthonormal realisation: Heuberger, Van den Hof & Bosgra 1995.

H systems, K states, Q inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.poles import Poles
else:
    torch = lazy_import("torch")

#: 2 pi is the sum of the two, to 107 bits; so are pi and its halves.
_TURN = (6.283185307179586, 2.4492935982947064e-16)


@dataclass(frozen=True)
class InputBalanced:
    """A (H, K, K), lower triangular, and B (H, K, Q); rows of poles that do not count are zero."""

    poles: Poles
    state: Tensor
    input: Tensor

    def squarings(self, count: int) -> Iterator[Tensor]:
        """A, A^2, A^4, ..., A^(2^count)."""
        power, diagonal = self.state, _DiagonalPowers(self.poles)
        yield power
        for _ in range(count):
            power = power @ power
            diagonal.double()
            power.diagonal(dim1=-2, dim2=-1).copy_(diagonal.values())
            yield power


def takenaka_malmquist(poles: Poles) -> InputBalanced:
    """The cascade over `poles`, all of them inside the unit circle, in their order."""
    value, weight = poles.values, poles.weight.to(poles.values.dtype)
    # A pole that does not count passes everything on.
    passed = torch.where(poles.counts, -value.conj().resolve_conj(), 1)
    systems, states = value.shape
    state = value.new_zeros(systems, states, states)
    # What reaches section i of the states before it (H, K), and of the input (H,).
    reaching, driven = torch.zeros_like(value), torch.ones_like(value[:, 0])
    inputs = torch.zeros_like(value)
    for i in range(states):
        state[:, i] = weight[:, i, None] * reaching
        state[:, i, i] = value[:, i]
        inputs[:, i] = weight[:, i] * driven
        reaching *= passed[:, i, None]
        reaching[:, i] = weight[:, i]
        driven = driven * passed[:, i]
    return InputBalanced(poles, state, inputs.unsqueeze(-1))


class _DiagonalPowers:
    """lambda^tau for tau = 1, 2, 4, ...: its angle to twice the digits of float64.

    tau times a phase would otherwise be off by tau times its rounding.
    """

    def __init__(self, poles: Poles) -> None:
        self._poles = poles
        self._log = poles.log_modulus
        self._angle = None if poles.are_real else poles.phase
        self._rest = None if self._angle is None else _half_turn_rest(self._angle)
        self._negative = poles.values.real < 0

    def double(self) -> None:
        """From tau to 2 tau."""
        self._log = 2 * self._log
        self._negative = torch.zeros_like(self._negative)
        if self._angle is not None and self._rest is not None:
            angle, rest = 2 * self._angle, 2 * self._rest
            turns = torch.round(angle / _TURN[0])
            self._angle = angle - turns * _TURN[0]  # exact: at most one turn is taken off
            self._rest = rest - turns * _TURN[1]

    def values(self) -> Tensor:
        """lambda^tau, (H, K); zero where no pole counts."""
        modulus = self._log.exp() * self._poles.counts
        if self._angle is None or self._rest is None:
            return torch.where(self._negative, -modulus, modulus)
        return torch.polar(modulus, self._angle + self._rest)


def _half_turn_rest(angle: Tensor) -> Tensor:
    """What float64 leaves out of an angle that means half a turn; zero for any other."""
    return torch.where(angle == math.pi, _TURN[1] / 2, torch.zeros_like(angle))
