"""Mamba-2 (SSD): one real decay per head, shared by all of the head's states.

    z_t, (x, b, c)_t, s_t = W_in hidden_t        (B, T, H P), (B, T, H P + 2 G N), (B, T, H)
    (u, b, c)_t           = silu(conv(x, b, c)_t)
    Delta_t               = clamp(softplus(s_t + step_bias), step_limit)        (B, T, H)
    h_t                   = exp(-Delta_t exp(A_log)) h_{t-1} + Delta_t b_t u_t^T   h: (B, H, N, P)
    y_t                   = h_t^T c_t + D u_t                                   (B, T, H, P)
    output_t              = W_out norm(y_t silu(z_t))

B batch, T tokens, H heads, P head width, N state, G groups (b and c are shared by H / G heads).
Dao & Gu 2024 (arXiv 2405.21060), section 7. The input is discretised by Euler's rule (Delta b).
The norm is a root mean square over each of the G groups of channels, with a learned weight; it may
come before the gate, or be left out. Falcon-H1 multiplies hidden_t, and each of z, x, b, c and s,
by a constant (`multipliers`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, HeadAxis, Mode, OuterProduct, Recurrence, ScalarDecay
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
class Multipliers:
    """Falcon-H1's constants: of the layer's input, and of the projected z, x, b, c and s."""

    hidden: float = 1.0
    projected: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Mamba2:
    """A Mamba-2 layer: H `heads` of width P and `state_size` N; keys in G `groups`.

    step_limit: the interval Delta_t is clamped to. norm_epsilon: None for a layer without the norm.
    output_bias: whether W_out has one; None for as W_in (`projection_bias`). multipliers: None for
    a layer without them.
    """

    name: ClassVar[str] = "mamba2"
    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("A_log", "step_bias")
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    heads: int
    head_width: int
    state_size: int
    groups: int = 1
    convolution_width: int = 4
    step_limit: tuple[float, float] = (0.0, math.inf)
    norm_epsilon: float | None = 1e-5
    norm_before_gate: bool = False
    projection_bias: bool = False
    output_bias: bool | None = None
    convolution_bias: bool = True
    multipliers: Multipliers | None = None

    @property
    def channels(self) -> int:
        """H P, the layer's inner width."""
        return self.heads * self.head_width

    @property
    def convolved(self) -> int:
        """Channels that pass through the convolution: x, b and c."""
        return self.channels + 2 * self.groups * self.state_size

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        projected = self.channels + self.convolved + self.heads
        shapes = {
            "A_log": (self.heads,),
            "D": (self.heads,),
            "step_bias": (self.heads,),
            "input_projection": (projected, self.model_width),
            "convolution": (self.convolved, 1, self.convolution_width),
            "output_projection": (self.model_width, self.channels),
        }
        if self.norm_epsilon is not None:
            shapes["norm"] = (self.channels,)
        if self.convolution_bias:
            shapes["convolution_bias"] = (self.convolved,)
        if self.projection_bias:
            shapes["input_projection_bias"] = (projected,)
        output_bias = self.projection_bias if self.output_bias is None else self.output_bias
        if output_bias:
            shapes["output_projection_bias"] = (self.model_width,)
        return shapes

    def step(self, raw: Tensor, bias: Tensor) -> Tensor:
        """Delta from the raw step s (..., H) and its bias (H,)."""
        return functional.softplus(raw + bias).clamp(*self.step_limit)

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the step at its bias, as if s_t were zero. B and C need tokens."""
        # In float64, and widened before the exponential: half precision would overflow in it.
        bias = p["step_bias"].double()
        rate = torch.exp(p["A_log"].double())
        step = self.step(torch.zeros_like(bias), bias)
        return Recurrence(
            ScalarDecay(-step * rate, self.state_size),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            step=step,
            generator=-rate.unsqueeze(-1),
            feedthrough=p.get("D"),
        )

    def observed(
        self, step: Tensor, key: Tensor, query: Tensor, rate: Tensor, feedthrough: Tensor | None
    ) -> Recurrence:
        """From Delta (B, T, H), b and c (B, T, G, N), exp(A_log) (H,) and D (H,)."""
        return Recurrence(
            ScalarDecay(-step * rate, self.state_size),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            step=step,
            generator=-rate.unsqueeze(-1),
            input_map=OuterProduct(key, gain=step),
            output_map=Contraction(query.to(step.dtype)),
            feedthrough=feedthrough,
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        z, xbc, raw = self._project(hidden, p).split(
            [self.channels, self.convolved, self.heads], dim=-1
        )
        xbc = functional.silu(causal_convolution(xbc, p["convolution"], p.get("convolution_bias")))
        keys = self.groups * self.state_size
        u, b, c = xbc.split([self.channels, keys, keys], dim=-1)
        recurrence = self.observed(
            self.step(raw, p["step_bias"]),
            b.unflatten(-1, (self.groups, self.state_size)),
            c.unflatten(-1, (self.groups, self.state_size)),
            torch.exp(p["A_log"]),
            p["D"],
        )

        def finish(y: Tensor) -> Tensor:
            gated = self._gate(y.flatten(-2), z, p)
            return functional.linear(gated, p["output_projection"], p.get("output_projection_bias"))

        return Observation(recurrence, u.unflatten(-1, (self.heads, self.head_width)), finish)

    def _project(self, hidden: Tensor, p: Parameters) -> Tensor:
        """W_in hidden: z, x, b, c and s side by side."""
        weight, bias = p["input_projection"], p.get("input_projection_bias")
        if self.multipliers is None:
            return functional.linear(hidden, weight, bias)
        projected = functional.linear(hidden * self.multipliers.hidden, weight, bias)
        keys = self.groups * self.state_size
        parts = projected.split([self.channels, self.channels, keys, keys, self.heads], dim=-1)
        scaled = zip(parts, self.multipliers.projected, strict=True)
        return torch.cat([part * multiplier for part, multiplier in scaled], dim=-1)

    def _gate(self, y: Tensor, z: Tensor, p: Parameters) -> Tensor:
        """norm(y silu(z)), or norm(y) silu(z), or y silu(z): (B, T, H P)."""
        if self.norm_before_gate:
            return self._norm(y, p) * functional.silu(z)
        return self._norm(y * functional.silu(z), p)

    def _norm(self, y: Tensor, p: Parameters) -> Tensor:
        if self.norm_epsilon is None:
            return y
        grouped = y.unflatten(-1, (self.groups, -1))
        return root_mean_square_norm(grouped, self.norm_epsilon).flatten(-2) * p["norm"]
