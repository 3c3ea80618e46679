"""LRU: a diagonal recurrence in discrete time, shared by all channels.

    lambda = exp(-exp(nu_log) + i exp(theta_log))                     (N,)
    h_t    = lambda h_{t-1} + exp(gamma_log) (B_re + i B_im) u_t      h: (B, N) complex
    y_t    = Re((C_re + i C_im) h_t) + D u_t                          (B, T, Q)

B batch, T tokens, Q model width, N states as they are stored: there are no conjugates besides.

Orvieto et al. 2023 (arXiv 2303.06349), equations 4 to 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    DiagonalDecay,
    HeadAxis,
    Mode,
    Recurrence,
)
from spectrakit.dynamics.discretize import wrapped
from spectrakit.mixers.layers import in_float64

if TYPE_CHECKING:
    import torch

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class LRU:
    """A linear recurrent unit of `state_size` N between vectors of `model_width` Q."""

    name: ClassVar[str] = "lru"
    operator: ClassVar[str] = DiagonalDecay.structure
    weights_mode: ClassVar[Mode | None] = "static"
    weights_roles: ClassVar[tuple[str, ...]] = (
        "nu_log",
        "theta_log",
        "gamma_log",
        "B_re",
        "B_im",
        "C_re",
        "C_im",
        "D",
    )
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    state_size: int

    @property
    def heads(self) -> int:
        """One: all channels share the state."""
        return 1

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        states, width = self.state_size, self.model_width
        return {
            "nu_log": (states,),
            "theta_log": (states,),
            "gamma_log": (states,),
            "B_re": (states, width),
            "B_im": (states, width),
            "C_re": (width, states),
            "C_im": (width, states),
            "D": (width,),
        }

    def from_weights(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in float64."""
        return self.recurrence(in_float64(p))

    def recurrence(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in the dtype of `p`."""
        key = p["gamma_log"].exp().unsqueeze(-1) * torch.complex(p["B_re"], p["B_im"])
        return Recurrence(
            DiagonalDecay(-p["nu_log"].exp()[None], wrapped(p["theta_log"].exp())[None]),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            input_map=ConstantInput(key.unsqueeze(0)),
            output_map=ConstantOutput(torch.complex(p["C_re"], p["C_im"]).unsqueeze(0)),
            feedthrough=p["D"].unsqueeze(0),
        )
