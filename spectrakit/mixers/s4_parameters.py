"""How S4 and S4D write their parameters: state-spaces/s4, versions 2 to 4, and the minimal S4D.

    A     = -f(A_real) + sign i g(A_imag)                        (H, M)
    Delta = e(step) or e(sinh(step))                             (H, 1) or (H, M)
    C     = 0 where Delta |Im A| / 2 pi >= bandlimit / 2         (c, H, M)

H channels, each with c outputs (read-out rows, or directions). M stored states: the other M are
their complex conjugates, so that y = 2 Re(C h); without A_imag the system is real, and y = 2 C h
all the same. S systems, tiled over the channels: channel h has the A, B and P of system h mod S.
r rank of the low-rank term of S4. f, g and e are transforms that the weights do not name. Complex
B, C and P are stored as pairs of floats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: How a positive number is stored. offset_relu: relu(x) + 1e-4, the `relu` of S4D and of version 4.
Transform: TypeAlias = Literal["none", "exp", "relu", "offset_relu", "sigmoid", "softplus"]


@dataclass(frozen=True)
class S4Parameters:
    """The stored shapes of a layer's parameters, and what their values mean.

    stored_shapes: by role; the versions differ in axes of size one. Roles: A_real, A_imag (none
    where the system is real), step, B (none where it is 1), C, D (none where there is no
    feedthrough), P (of S4 alone).
    sign: of Im A where A_imag > 0; -1 in version 4.
    bandlimit: in units of the sampling rate; None for no limit.
    """

    stored_shapes: Mapping[str, tuple[int, ...]]
    real_transform: Transform = "exp"
    imaginary_transform: Transform = "none"
    sign: Literal[-1, 1] = -1
    step_transform: Transform = "exp"
    sinh_step: bool = False
    bandlimit: float | None = None

    @property
    def is_real(self) -> bool:
        """Whether A, B and C are real."""
        return "A_imag" not in self.stored_shapes

    @property
    def systems(self) -> int:
        """S."""
        return self.stored_shapes["A_real"][0]

    @property
    def stored_states(self) -> int:
        """M."""
        return self.stored_shapes["A_real"][1]

    @property
    def state_size(self) -> int:
        """N: the M stored states and their conjugates; M where the system is real."""
        return self.stored_states if self.is_real else 2 * self.stored_states

    @property
    def channels(self) -> int:
        """H."""
        return self.stored_shapes["C"][-2 if self.is_real else -3]

    @property
    def outputs(self) -> int:
        """c."""
        per_output = self.channels * self.stored_states * (1 if self.is_real else 2)
        return math.prod(self.stored_shapes["C"]) // per_output

    def generator(self, p: Parameters) -> Tensor:
        """The diagonal of A: (H, M), complex, in the precision of `p`, as all below."""
        real = -_transformed(p["A_real"], self.real_transform)
        if self.is_real:
            imaginary = torch.zeros_like(real)
        else:
            imaginary = _transformed(p["A_imag"], self.imaginary_transform)
        return self._tiled(torch.complex(real, self.sign * imaginary))

    def step(self, p: Parameters) -> Tensor:
        """Delta: (H, 1), or (H, M) where every state has its own."""
        stored = p["step"].reshape(self.channels, -1)
        return _transformed(stored.sinh() if self.sinh_step else stored, self.step_transform)

    def input(self, p: Parameters) -> Tensor:
        """B: (H, M), complex."""
        if "B" not in p:
            ones = torch.ones_like(p["A_real"][:1, :1]).expand(self.channels, self.stored_states)
            return torch.complex(ones, torch.zeros_like(ones))
        return self._tiled(self._complex(p["B"]).reshape(self.systems, -1))

    def low_rank(self, p: Parameters) -> Tensor:
        """P: (r, H, M), complex."""
        stored = self._complex(p["P"]).reshape(-1, self.systems, self.stored_states)
        return self._tiled(stored)

    def output(self, p: Parameters) -> Tensor:
        """C: (c, H, M), complex, with the frequencies above the band limit taken out."""
        stored = self._complex(p["C"]).reshape(-1, self.channels, self.stored_states)
        if self.bandlimit is None:
            return stored
        frequency = self.step(p) * self.generator(p).imag.abs() / (2 * math.pi)
        return torch.where(frequency < self.bandlimit / 2, stored, 0)

    def feedthrough(self, p: Parameters) -> Tensor | None:
        """D of the one output: (H,)."""
        return p["D"].reshape(self.channels) if "D" in p else None

    def stored_real(self, decay: Tensor) -> Tensor:
        """What `generator` makes -decay of: A_real where -Re A is `decay` >= 0."""
        return _stored(decay, self.real_transform)

    def stored_imaginary(self, imaginary: Tensor) -> Tensor:
        """A_imag where Im A is `imaginary`, or its negative where transforms know one sign alone.

        States and their conjugates stand beside each other, so that either is the same system where
        B and P are real.
        """
        if self.imaginary_transform == "none" and self.sign == 1:
            return imaginary
        return _stored(imaginary.abs(), self.imaginary_transform)

    def stored_step(self, step: Tensor) -> Tensor:
        """What `step` makes these steps of."""
        plain = self.step_transform == "exp"  # which the library does not keep away from 0
        stored = step.log() if plain else _stored(step, self.step_transform)
        return stored.asinh() if self.sinh_step else stored

    def _complex(self, stored: Tensor) -> Tensor:
        if self.is_real:
            return torch.complex(stored, torch.zeros_like(stored))
        return torch.view_as_complex(stored.contiguous())

    def _tiled(self, per_system: Tensor) -> Tensor:
        """(..., S, M) -> (..., H, M)."""
        copies = self.channels // self.systems
        return torch.cat([per_system] * copies, dim=-2)


def _transformed(stored: Tensor, transform: Transform) -> Tensor:
    if transform == "exp":
        return stored.exp()
    if transform == "relu":
        return stored.relu()
    if transform == "offset_relu":
        return stored.relu() + 1e-4
    if transform == "sigmoid":
        return stored.sigmoid()
    if transform == "softplus":
        return functional.softplus(stored)
    return stored


def _stored(positive: Tensor, transform: Transform) -> Tensor:
    """The inverse of `_transformed`; state-spaces/s4 keeps what it stores 1e-4 away from 0."""
    positive = positive.clamp(min=1e-4)
    if transform == "exp":
        return positive.log()
    if transform == "sigmoid":
        return positive.logit()
    if transform == "softplus":
        return positive.expm1().log()
    return positive
