"""Gated short convolution: a memory of the last few tokens, and of nothing before them (LFM2).

    b_t, c_t, x_t = W_in hidden_t                                     (B, T, D) each
    u_t           = b_t x_t
    h_t           = (u_t, u_{t-1}, ..., u_{t-K+1})                    h: (B, D, K)
    y_t           = sum_k w_k h_t[k]                                  (B, T, D)
    output_t      = W_out (c_t (y_t + bias))

B batch, T tokens, D channels, K width of the convolution. The state holds the present input too,
as everywhere here: y_t is read from h_t, and the oldest of its K inputs is K - 1 tokens back. The
operator shifts the state and is nilpotent: all its eigenvalues are zero, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import ConstantInput, ConstantOutput, HeadAxis, Mode, Recurrence
from spectrakit.dynamics.shift import ShiftRegister
from spectrakit.mixers.base import Observation

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class ShortConvolution:
    """A gated short convolution over K `width` tokens, on D `channels`.

    bias: whether the projections and the convolution have one.
    """

    name: ClassVar[str] = "short_convolution"
    operator: ClassVar[str] = ShiftRegister.structure
    weights_mode: ClassVar[Mode | None] = "static"
    weights_roles: ClassVar[tuple[str, ...]] = ("convolution",)
    head_axis: ClassVar[HeadAxis] = "channel"

    channels: int
    width: int
    bias: bool = False

    @property
    def heads(self) -> int:
        """D: channels do not interact, each is a head of width one."""
        return self.channels

    @property
    def state_size(self) -> int:
        """K, the present input included."""
        return self.width

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes = {
            "convolution": (self.channels, 1, self.width),
            "input_projection": (3 * self.channels, self.channels),
            "output_projection": (self.channels, self.channels),
        }
        if self.bias:
            shapes["convolution_bias"] = (self.channels,)
            shapes["input_projection_bias"] = (3 * self.channels,)
            shapes["output_projection_bias"] = (self.channels,)
        return shapes

    def from_weights(self, p: Parameters) -> Recurrence:
        """The whole recurrence, in float64."""
        return self.observed(p["convolution"].double())

    def observed(self, weight: Tensor) -> Recurrence:
        """From the convolution's weight (D, 1, K), whose last entry is for the present input."""
        first = torch.zeros(self.channels, self.width, 1, dtype=weight.dtype, device=weight.device)
        first[:, 0] = 1
        return Recurrence(
            ShiftRegister(self.channels, self.width),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            input_map=ConstantInput(first),
            output_map=ConstantOutput(weight.flip(-1)),
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, D), in its dtype."""
        projected = functional.linear(hidden, p["input_projection"], p.get("input_projection_bias"))
        b, c, x = projected.chunk(3, dim=-1)

        def finish(y: Tensor) -> Tensor:
            convolved = y.squeeze(-1) + p.get("convolution_bias", 0)
            bias = p.get("output_projection_bias")
            return functional.linear(c * convolved, p["output_projection"], bias)

        return Observation(self.observed(p["convolution"]), (b * x).unsqueeze(-1), finish)
