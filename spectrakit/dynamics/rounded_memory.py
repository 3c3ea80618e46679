"""What is left of a memory when the state is stored in few bits.

Every token the state of a diagonal recurrence is rounded as it is stored. A rounding is taken as
noise, white over tokens and entries, of relative variance

    epsilon^2 = u^2 / (8 ln 2)        u = 2^-8 (bfloat16), 2^-11 (float16), 2^-24 (float32)

(u the unit roundoff; uniform errors over log-uniform mantissas, as Oppenheim & Weinstein 1972). The
noise of an entry stays as long as its signal: its variance adds up to epsilon^2 / (1 - |lambda|^2)
of the entry's own. Reading through it,

    MF(tau) = v^H (G + S)^{-1} v    G_ij = 1 / (1 - l_i l_j^*)   S_ii = epsilon^2 / (1 - |l_i|^2)^2
                                    v_i = l_i^tau

where B, which scales G, S and v alike, drops out. With G = W^-1 T T^H W^-1 and the singular values
of W T = U s V^H this is, in the input-balanced coordinates A^tau B of the exact memory function,

    MF(tau) = sum_k s_k^2 / (s_k^2 + epsilon^2) |V_k^H A^tau B|^2

T is the Cholesky factor of a Cauchy matrix and known in closed form, to all its digits. The noise
model is our own choice; roundings that are no noise (a decay that rounds to one) are not in it.

Where A and B vary, see `spectrakit.dynamics.observed_rounding`.

H systems, K poles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.memory_function import Readings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.poles import Poles
else:
    torch = lazy_import("torch")

Precision = Literal["bfloat16", "float16", "float32"]

#: Unit roundoff u of each type.
UNIT_ROUNDOFF: dict[Precision, float] = {
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    "float32": 2.0**-24,
}


def rounding_variance(precision: Precision) -> float:
    """epsilon^2, the relative variance of one rounding."""
    return UNIT_ROUNDOFF[precision] ** 2 / (8 * math.log(2))


def rounded_readings(poles: Poles, precisions: Sequence[Precision]) -> Readings:
    """How much of each direction of an input-balanced state survives in each precision.

    The poles are those of diagonal systems, all inside the unit circle.
    """
    return readings_through_noise(state_coordinates(poles), poles.weight, precisions)


def readings_through_noise(
    coordinates: Tensor, weight: Tensor, precisions: Sequence[Precision]
) -> Readings:
    """From T (H, K, K) and w (H, K): the directions V and what each precision retains of them."""
    _, singular, axes = torch.linalg.svd(weight.unsqueeze(-1) * coordinates)
    power = singular.square()
    retained = [power / (power + rounding_variance(precision)) for precision in precisions]
    return Readings(axes.mH, torch.stack(retained))


def state_coordinates(poles: Poles) -> Tensor:
    """T: the states of unit variance in the input-balanced basis, lower triangular (H, K, K).

    T_ik = w_i w_k / (1 - l_k^* l_i) prod_{j<k} (l_i - l_j) / (1 - l_j^* l_i)
    """
    weight = poles.weight
    systems, states = weight.shape
    below = one_less_product(poles)
    distance = pole_differences(poles) / below
    both = poles.counts.unsqueeze(-1) & poles.counts.unsqueeze(-2)
    # A pole that does not count lies nowhere: it takes nothing off.
    distance = torch.where(both, distance, 1)
    coordinates = distance.new_zeros(systems, states, states)
    reaching = torch.ones_like(distance[..., 0])
    for k in range(states):
        column = weight * weight[:, k, None] / below[..., k] * reaching
        coordinates[:, k:, k] = column[:, k:]
        reaching = reaching * distance[..., k]
    return coordinates


def one_less_product(poles: Poles) -> Tensor:
    """1 - l_i l_k^*, with its digits where both are near the unit circle: (H, K, K)."""
    log = poles.log_modulus.unsqueeze(-1) + poles.log_modulus.unsqueeze(-2)
    return -_expm1(log, None if poles.phase is None else _angles(poles.phase))


def pole_differences(poles: Poles) -> Tensor:
    """l_i - l_k, with the digits of their logarithms: (H, K, K)."""
    log = poles.log_modulus.unsqueeze(-1) - poles.log_modulus.unsqueeze(-2)
    angle = None if poles.phase is None else _angles(poles.phase)
    # From the larger of the two, whose quotient with the other does not overflow.
    larger = log <= 0
    ratio = _expm1(-log.abs(), None if angle is None else torch.where(larger, angle, -angle))
    value = poles.values
    return torch.where(larger, value.unsqueeze(-2) * ratio, -value.unsqueeze(-1) * ratio)


def _angles(phase: Tensor) -> Tensor:
    return phase.unsqueeze(-1) - phase.unsqueeze(-2)


def _expm1(log_modulus: Tensor, angle: Tensor | None) -> Tensor:
    """exp(log_modulus + i angle) - 1, each part with its digits; real where no angle is given."""
    if angle is None:
        return torch.expm1(log_modulus)
    modulus = log_modulus.exp()
    real = torch.expm1(log_modulus) - 2 * modulus * torch.sin(angle / 2).square()
    return torch.complex(real, modulus * torch.sin(angle))
