"""Mamba-3: a decay and rotations chosen by the token, and an input discretised by a trapezoid.

    z_t, x_t, b_t, c_t, s_t, a_t, g_t, w_t = W_in hidden_t
    Delta_t  = softplus(s_t + step_bias)                            (B, T, H)
    A_t      = -max(f(a_t), A_floor)                                (B, T, H)
    theta_t  = pi tanh(w_t) Delta_t                                 (B, T, H, S)
    lambda_t = sigmoid(g_t)                                         (B, T, H)
    k_t, q_t = norm(b_t) + key_bias, norm(c_t) + query_bias         (B, T, H, N)
    h_t      = e^{Delta_t A_t} R_t^T (h_{t-1} + (1 - lambda_t) Delta_t k_{t-1} x_{t-1}^T)
               + lambda_t Delta_t k_t x_t^T                         h: (B, H, N, P)
    y_t      = h_t^T q_t + D x_t                                    (B, T, H, P)
    output_t = W_out (norm(y_t) silu(z_t))                          norm only if `output_norm`

B batch, T tokens, H heads, P head width, N state, S rotated pairs, G groups (b and c are shared by
H / G heads). Norms are root mean squares with a learned weight: over N of b and c, over P of y.
R_t rotates the j-th pair of the state by theta_tj (`RotatedDecay`): the eigenvalues are
e^{Delta_t A_t +- i theta_tj}, and e^{Delta_t A_t} for what is not rotated. Lahoti et al. 2026
(arXiv 2603.15569), with the parameters of the module `Mamba3` of mamba_ssm; there R_1 ... R_t is
absorbed into keys and queries, which leaves a real decay in a frame that turns.

f is not in the file (`AForm`): heavy_tail is 1 + a for a >= 0 and 1 / (1 - a) below.

Each x_t enters twice, at t and, with a weight of token t + 1, at t + 1. Here it enters once: the
state that is kept has the second part already, hhat_t = h_t + r_t k_t x_t^T with r_t = (1 -
lambda_{t+1}) Delta_{t+1}, so that

    hhat_t = e^{Delta_t A_t} R_t^T hhat_{t-1} + (lambda_t Delta_t + r_t) k_t x_t^T
    y_t    = hhat_t^T q_t + (D - r_t q_t . k_t) x_t

This is the same A_t and the same map from inputs to outputs. Keeping k_{t-1} and x_{t-1} beside the
state instead would add eigenvalues of zero that are not the layer's. Where no token follows, r_t is
zero; it cancels in y_t. What x_t contributes to y_t itself is C_t B_t and the feedthrough together.

Nominal: A_t where the projections are zero (at their bias, where W_in has one): Delta_t at its
bias, A_t = -f(0), nothing rotated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, HeadAxis, Mode, OuterProduct, Recurrence
from spectrakit.dynamics.rotated_decay import RotatedDecay
from spectrakit.mixers import Observation
from spectrakit.mixers.layers import root_mean_square_norm

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: How A_t is made of a_t. softplus: mamba_ssm up to 2.3.2, fla from 0.5.2. heavy_tail: mamba_ssm
#: after that. positive_floor: A_t = +A_floor whatever a_t, in fla 0.5.1, which took the sign after
#: the bound; such a state does not decay.
AForm: TypeAlias = Literal["heavy_tail", "softplus", "positive_floor"]


class Projected(NamedTuple):
    """W_in hidden, in parts: z, x (..., H P), b, c (..., R G N), s, a, g (..., H), w (..., S)."""

    gate: Tensor
    x: Tensor
    key: Tensor
    query: Tensor
    step: Tensor
    decay: Tensor
    trapezoid: Tensor
    angle: Tensor


class Taps(NamedTuple):
    """Weights of x_t in the state that is kept, lambda_t Delta_t + r_t, and r_t: (B, T, H) each."""

    gain: Tensor
    ahead: Tensor


@dataclass(frozen=True)
class Mamba3:
    """A Mamba-3 layer: H `heads` of width P and `state_size` N, whose first 2 S entries rotate.

    pairs: S. groups: G. norm_epsilon: of the norms of b, c and y. projection_bias: of W_in and
    W_out both.
    """

    name: ClassVar[str] = "mamba3"
    operator: ClassVar[str] = RotatedDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    heads: int
    head_width: int
    state_size: int
    pairs: int
    a_form: AForm
    a_floor: float = 1e-4
    groups: int = 1
    output_norm: bool = False
    norm_epsilon: float = 1e-5
    projection_bias: bool = False

    @property
    def ranks(self) -> int:
        """R, keys and queries a head has at every token."""
        return 1

    @property
    def weights_roles(self) -> tuple[str, ...]:
        """The bias of Delta, and that of all projections where there is one."""
        return ("step_bias", "input_projection_bias") if self.projection_bias else ("step_bias",)

    @property
    def channels(self) -> int:
        """H P, the layer's inner width."""
        return self.heads * self.head_width

    @property
    def projected(self) -> tuple[int, ...]:
        """Widths of the parts of W_in hidden, as in `Projected`."""
        keys = self.ranks * self.groups * self.state_size
        return (self.channels, self.channels, keys, keys, *(self.heads,) * 3, self.pairs)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes: dict[str, tuple[int, ...]] = {
            "step_bias": (self.heads,),
            "input_projection": (sum(self.projected), self.model_width),
            "key_bias": (self.heads, self.ranks, self.state_size),
            "query_bias": (self.heads, self.ranks, self.state_size),
            "key_norm": (self.state_size,),
            "query_norm": (self.state_size,),
            "D": (self.heads,),
            "output_projection": (self.model_width, self.channels),
        }
        if self.output_norm:
            shapes["norm"] = (self.channels,)
        if self.projection_bias:
            shapes["input_projection_bias"] = (sum(self.projected),)
            shapes["output_projection_bias"] = (self.model_width,)
        return shapes

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: Delta, A and theta at their bias. B and C need tokens."""
        step_bias = p["step_bias"].double()
        if self.projection_bias:
            bias = p["input_projection_bias"].double()
        else:
            bias = step_bias.new_zeros(sum(self.projected))
        raw = Projected(*bias.split(self.projected))
        step = functional.softplus(raw.step + step_bias)
        return Recurrence(
            self.transition(raw, step),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            step=step,
        )

    def transition(self, raw: Projected, step: Tensor) -> RotatedDecay:
        """e^{Delta A} R^T from a (..., H), w (..., S) and Delta (..., H)."""
        angle = math.pi * torch.tanh(raw.angle).unsqueeze(-2) * step.unsqueeze(-1)
        return RotatedDecay(step * self.continuous_decay(raw.decay), angle, self.state_size)

    def continuous_decay(self, raw: Tensor) -> Tensor:
        """A from a (..., H)."""
        if self.a_form == "positive_floor":
            return torch.full_like(raw, self.a_floor)
        if self.a_form == "softplus":
            rate = functional.softplus(raw)
        else:
            rate = raw.clamp(min=0) + 1 / (1 - raw.clamp(max=0))
        return -rate.clamp(min=self.a_floor)

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype or float32."""
        raw = self.project(hidden, p)
        step = functional.softplus(raw.step + p["step_bias"])
        key = self.per_head(raw.key, p["key_norm"], p["key_bias"]).squeeze(3)
        query = self.per_head(raw.query, p["query_norm"], p["query_bias"]).squeeze(3)
        taps = self.taps(raw, step)
        feedthrough = p["D"] - taps.ahead * (query * key).sum(-1)
        recurrence = Recurrence(
            self.transition(raw, step),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            step=step,
            input_map=OuterProduct(key, gain=taps.gain),
            output_map=Contraction(query),
            feedthrough=feedthrough.unsqueeze(-1),
        )

        def finish(y: Tensor) -> Tensor:
            if self.output_norm:
                y = root_mean_square_norm(y, self.norm_epsilon) * p["norm"].view(self.heads, -1)
            return self.leave(y.flatten(-2) * functional.silu(raw.gate), p)

        return Observation(recurrence, raw.x.unflatten(-1, (self.heads, -1)), finish)

    def project(self, hidden: Tensor, p: Parameters) -> Projected:
        """W_in hidden, in float32 at least."""
        bias = p.get("input_projection_bias")
        projected = functional.linear(hidden, p["input_projection"], bias)
        wide = projected.to(torch.promote_types(projected.dtype, torch.float32))
        return Projected(*wide.split(self.projected, dim=-1))

    def leave(self, gated: Tensor, p: Parameters) -> Tensor:
        """W_out of (B, T, H P)."""
        weight = p["output_projection"]
        return functional.linear(gated.to(weight.dtype), weight, p.get("output_projection_bias"))

    def per_head(self, raw: Tensor, norm: Tensor, bias: Tensor) -> Tensor:
        """k or q (B, T, H, R, N) from b or c (B, T, R G N)."""
        grouped = raw.unflatten(-1, (self.ranks, self.groups, self.state_size))
        normed = root_mean_square_norm(grouped, self.norm_epsilon) * norm
        return normed.repeat_interleave(self.heads // self.groups, dim=-2).transpose(2, 3) + bias

    def taps(self, raw: Projected, step: Tensor) -> Taps:
        """Weights of x_t, from g and Delta (B, T, H)."""
        present = raw.trapezoid.sigmoid() * step
        past = step - present  # (1 - lambda) Delta, of the token before
        ahead = functional.pad(past[:, 1:], (0, 0, 0, 1))
        return Taps(present + ahead, ahead)
