"""Mamba (S6): one real decay per channel and state, on a step that depends on the token.

    x_t, z_t      = W_in hidden_t                                 (B, T, D) each
    u_t           = silu(conv(x)_t)                               (B, T, D)
    s_t, b_t, c_t = W_x u_t                                       (B, T, R), (B, T, N), (B, T, N)
    Delta_t       = softplus(W_dt s_t + step_bias)                (B, T, D)
    h_t           = exp(-Delta_t exp(A_log)) h_{t-1} + Delta_t b_t u_t        h: (B, D, N)
    y_t           = c_t^T h_t + D u_t
    output_t      = W_out (y_t silu(z_t))

B batch, T tokens, D channels (the layer's inner width), N state, R rank of the step.
Gu & Dao 2023 (arXiv 2312.00752), algorithm 2. A is discretised by zero-order hold; the input by
Euler's rule (Delta b), not by zero-order hold. FalconMamba normalises s, b and c to unit root mean
square before W_dt (`norm_epsilon`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    Contraction,
    HeadAxis,
    Mode,
    OuterProduct,
    Recurrence,
    SeparableDecay,
)
from spectrakit.mixers.base import Observation
from spectrakit.mixers.layers import causal_convolution, root_mean_square_norm

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class Mamba:
    """A Mamba layer: D `channels` of `state_size` N, a step of rank `step_rank`.

    norm_epsilon: of FalconMamba's norms of s, b and c; None for plain Mamba.
    """

    name: ClassVar[str] = "mamba"
    operator: ClassVar[str] = SeparableDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("A_log", "step_bias")
    head_axis: ClassVar[HeadAxis] = "channel"

    model_width: int
    channels: int
    state_size: int
    step_rank: int
    convolution_width: int = 4
    norm_epsilon: float | None = None
    projection_bias: bool = False
    convolution_bias: bool = True

    @property
    def heads(self) -> int:
        """D: channels do not interact, each is a head of width one."""
        return self.channels

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes = {
            "A_log": (self.channels, self.state_size),
            "D": (self.channels,),
            "step_bias": (self.channels,),
            "step_projection": (self.channels, self.step_rank),
            "input_projection": (2 * self.channels, self.model_width),
            "selection_projection": (self.step_rank + 2 * self.state_size, self.channels),
            "convolution": (self.channels, 1, self.convolution_width),
            "output_projection": (self.model_width, self.channels),
        }
        if self.convolution_bias:
            shapes["convolution_bias"] = (self.channels,)
        if self.projection_bias:
            shapes["input_projection_bias"] = (2 * self.channels,)
            shapes["output_projection_bias"] = (self.model_width,)
        return shapes

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the step at its bias, as if W_dt s_t were zero. B and C need tokens."""
        # In float64, and widened before the exponential: half precision would overflow in it.
        rate = torch.exp(p["A_log"].double())
        step = functional.softplus(p["step_bias"].double())
        return Recurrence(
            SeparableDecay(step, rate),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            step=step,
            generator=-rate,
            feedthrough=p.get("D"),
        )

    def observed(
        self, step: Tensor, key: Tensor, query: Tensor, rate: Tensor, feedthrough: Tensor | None
    ) -> Recurrence:
        """From Delta (B, T, D), b and c (B, T, N), exp(A_log) (D, N) and D (D,)."""
        return Recurrence(
            SeparableDecay(step, rate),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            step=step,
            generator=-rate,
            input_map=OuterProduct(key.unsqueeze(2), gain=step),
            output_map=Contraction(query.unsqueeze(2)),
            feedthrough=feedthrough,
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        projected = functional.linear(hidden, p["input_projection"], p.get("input_projection_bias"))
        x, z = projected.chunk(2, dim=-1)
        u = functional.silu(causal_convolution(x, p["convolution"], p.get("convolution_bias")))
        sizes = [self.step_rank, self.state_size, self.state_size]
        s, b, c = functional.linear(u, p["selection_projection"]).split(sizes, dim=-1)
        if self.norm_epsilon is not None:
            s, b, c = (root_mean_square_norm(part, self.norm_epsilon) for part in (s, b, c))
        step = functional.softplus(functional.linear(s, p["step_projection"], p["step_bias"]))
        rate = torch.exp(p["A_log"])

        def finish(y: Tensor) -> Tensor:
            gated = y.squeeze(-1) * functional.silu(z)
            return functional.linear(gated, p["output_projection"], p.get("output_projection_bias"))

        return Observation(self.observed(step, b, c, rate, p["D"]), u.unsqueeze(-1), finish)
