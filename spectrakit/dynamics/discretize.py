"""Discretising a diagonal continuous-time system x' = diag(lambda) x + B u with steps Delta.

    zero-order hold   lambda_bar = exp(z)                    B_bar = (exp(z) - 1) / lambda B
    bilinear          lambda_bar = (1 + z/2) / (1 - z/2)     B_bar = Delta / (1 - z/2) B
    DSS, exp          lambda_bar = exp(z)                    B_bar = (exp(z) - 1) r(lambda) B
    DSS, softmax      lambda_bar = exp(z)                    B_bar = B / sum_k exp(z k), k < L

z = Delta lambda, all (H, N): H heads or channels, N states. lambda_bar is made as log-modulus and
phase directly: through exp(z) itself, 1 - |lambda_bar| would lose its digits near 1.

Zero-order hold and bilinear: Gu et al. 2022 (arXiv 2206.11893), section 2. DSS: Gupta et al. 2022
(arXiv 2203.14343), propositions 1 and 2, with the guarded reciprocal r of its reference code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.operators import DiagonalDecay

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: What keeps the reciprocals of DSS finite, in its reference code.
_GUARD = 1e-7


@dataclass(frozen=True)
class DiscretisedDiagonal:
    """A diagonal system in discrete time; all (H, N).

    log_decay: log|lambda_bar|. phase: of lambda_bar, in radians within [-pi, pi]. gain: complex,
    what B is multiplied with.
    """

    log_decay: Tensor
    phase: Tensor
    gain: Tensor

    @property
    def operator(self) -> DiagonalDecay:
        """The transition operator diag(lambda_bar)."""
        return DiagonalDecay(self.log_decay, self.phase)

    def with_conjugates(self) -> DiscretisedDiagonal:
        """These N states and, after them, their N complex conjugates: (H, 2 N)."""
        return DiscretisedDiagonal(
            torch.cat([self.log_decay, self.log_decay], -1),
            torch.cat([self.phase, -self.phase], -1),
            with_conjugates(self.gain),
        )


def with_conjugates(half: Tensor) -> Tensor:
    """(..., N) -> (..., 2 N): the complex numbers, and after them their conjugates."""
    return torch.cat([half, half.conj()], -1).resolve_conj()


def zero_order_hold(generator: Tensor, step: Tensor) -> DiscretisedDiagonal:
    """Hold the input over each step. generator: complex (H, N). step: (H, N) or (H, 1), > 0."""
    scaled = step * generator
    # At lambda = 0 the quotient is its limit, Delta.
    gain = torch.where(generator == 0, step.to(scaled.dtype), torch.expm1(scaled) / generator)
    return _exponential(scaled, gain)


def bilinear(generator: Tensor, step: Tensor) -> DiscretisedDiagonal:
    """The trapezoidal rule (Tustin). generator: complex (H, N). step: (H, N) or (H, 1), > 0."""
    z = step * generator
    x, y = z.real, z.imag
    above, below = _squared_modulus(1 + z / 2), _squared_modulus(1 - z / 2)
    # |lambda_bar|^2 = above / below = 1 + 2 x / below: the second keeps its digits near the unit
    # circle, the first near the centre.
    excess = 2 * x / below
    log_decay = torch.where(excess > -0.5, torch.log1p(excess), above.log() - below.log()) / 2
    # (1 + z/2) conj(1 - z/2) = 1 - |z|^2 / 4 + i y has the phase of the quotient.
    phase = torch.atan2(y, 1 - _squared_modulus(z) / 4)
    return DiscretisedDiagonal(log_decay, phase, step / (1 - z / 2))


def dss_exp(generator: Tensor, scaled: Tensor, *, scale: bool = True) -> DiscretisedDiagonal:
    """DSS's `exp` versions: zero-order hold with a guarded 1 / lambda; `scale` off: a gain of one.

    generator: complex, (N,) or (H, N). scaled: z (H, N), whose real and imaginary parts may have
    steps of their own.
    """
    guarded = generator.conj() / _squared_modulus(generator).clamp(_GUARD)
    gain = torch.expm1(scaled) * guarded if scale else torch.ones_like(scaled)
    return _exponential(scaled, gain)


def dss_softmax(generator: Tensor, scaled: Tensor, length: int) -> DiscretisedDiagonal:
    """DSS's `softmax` version: each state's kernel sums to 1 / lambda over `length` steps.

    A state that grows (Re lambda > 0) is scaled down by its last value. generator: complex, (N,) or
    (H, N). scaled: z (H, N), as for `dss_exp`.
    """
    grows = generator.real > 0
    decaying = torch.where(grows, -scaled, scaled)
    total = torch.expm1(decaying * length) * generator
    gain = torch.expm1(decaying) * total.conj() / (_squared_modulus(total) + _GUARD)
    last = torch.where(grows, torch.exp(-scaled * (length - 1)), 1)
    return _exponential(scaled, gain * last)


def _exponential(scaled: Tensor, gain: Tensor) -> DiscretisedDiagonal:
    return DiscretisedDiagonal(scaled.real, wrapped(scaled.imag), gain.resolve_conj())


def wrapped(angle: Tensor) -> Tensor:
    """`angle` within [-pi, pi]; unchanged, to the last digit, where it lies there already."""
    turned = angle - 2 * math.pi * torch.round(angle / (2 * math.pi))
    return torch.where(angle.abs() <= math.pi, angle, turned.clamp(-math.pi, math.pi))


def _squared_modulus(z: Tensor) -> Tensor:
    return z.real**2 + z.imag**2
