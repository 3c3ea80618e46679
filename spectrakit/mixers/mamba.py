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
Euler's rule (Delta b), not by zero-order hold. FalconMamba and Jamba normalise s, b and c to unit
root mean square before W_dt (`norm_epsilon`), Jamba with learned weights (`norm_weights`). Zamba
cuts the channels into G `groups` with W_x, W_dt, s, b and c of their own, and mixes the rows of x
and z in W_in.
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

#: Roles of the weights of the norms of s, b and c.
_NORMS = ("step_norm", "key_norm", "query_norm")


@dataclass(frozen=True)
class Mamba:
    """A Mamba layer: D `channels` of `state_size` N, a step of rank `step_rank`.

    norm_epsilon: of the norms of s, b and c (FalconMamba, Jamba); None for plain Mamba, without.
    norm_weights: whether those norms have learned weights (Jamba).
    groups: G, how many parts of the channels have s, b and c of their own (Zamba, which gives their
    parameters a leading axis for it); None where all channels share them.
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
    norm_weights: bool = False
    groups: int | None = None
    projection_bias: bool = False
    convolution_bias: bool = True

    @property
    def heads(self) -> int:
        """D: channels do not interact, each is a head of width one."""
        return self.channels

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        grouped = (self.channels,) if self.groups is None else (self.groups, self._group_width)
        shapes = {
            "A_log": (*grouped, self.state_size),
            "D": grouped,
            "step_bias": grouped,
            "step_projection": (*grouped, self.step_rank),
            "selection_projection": (*grouped[:-1], sum(self._selected), grouped[-1]),
            "input_projection": (2 * self.channels, self.model_width),
            "convolution": (self.channels, 1, self.convolution_width),
            "output_projection": (self.model_width, self.channels),
        }
        if self.convolution_bias:
            shapes["convolution_bias"] = (self.channels,)
        if self.projection_bias:
            shapes["input_projection_bias"] = (2 * self.channels,)
            shapes["output_projection_bias"] = (self.model_width,)
        if self.norm_weights:
            sizes = zip(_NORMS, self._selected, strict=True)
            shapes |= {role: (size,) for role, size in sizes}
        return shapes

    @property
    def _selected(self) -> tuple[int, int, int]:
        """Sizes of s, b and c."""
        return self.step_rank, self.state_size, self.state_size

    @property
    def _group_width(self) -> int:
        """Channels that share s, b and c."""
        return self.channels // (self.groups or 1)

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the step at its bias, as if W_dt s_t were zero. B and C need tokens."""
        # In float64, and widened before the exponential: half precision would overflow in it.
        rate = torch.exp(p["A_log"].double()).reshape(self.channels, self.state_size)
        step = functional.softplus(p["step_bias"].double()).flatten()
        return Recurrence(
            SeparableDecay(step, rate),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            step=step,
            generator=-rate,
            feedthrough=p["D"].flatten() if "D" in p else None,
        )

    def observed(
        self, step: Tensor, key: Tensor, query: Tensor, rate: Tensor, feedthrough: Tensor | None
    ) -> Recurrence:
        """From Delta (B, T, D), b and c (B, T, G, N), exp(A_log) (D, N) and D (D,)."""
        return Recurrence(
            SeparableDecay(step, rate),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            step=step,
            generator=-rate,
            input_map=OuterProduct(key, gain=step),
            output_map=Contraction(query.to(step.dtype)),
            feedthrough=feedthrough,
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        projected = functional.linear(hidden, p["input_projection"], p.get("input_projection_bias"))
        x, z = self._split(projected)
        u = functional.silu(causal_convolution(x, p["convolution"], p.get("convolution_bias")))
        step, key, query = self._selection(u, p)
        rate = torch.exp(p["A_log"]).reshape(self.channels, self.state_size)

        def finish(y: Tensor) -> Tensor:
            gated = y.squeeze(-1) * functional.silu(z)
            return functional.linear(gated, p["output_projection"], p.get("output_projection_bias"))

        recurrence = self.observed(step, key, query, rate, p["D"].flatten())
        return Observation(recurrence, u.unsqueeze(-1), finish)

    def _split(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """The channels x and their gates z, from (B, T, 2 D)."""
        if self.groups is None:
            x, z = projected.chunk(2, dim=-1)
        else:
            x, z = projected.unflatten(-1, (-1, 2)).unbind(-1)
        return x, z

    def _selection(self, u: Tensor, p: Parameters) -> tuple[Tensor, Tensor, Tensor]:
        """Delta (B, T, D), b and c (B, T, G, N) from the convolved channels u (B, T, D)."""
        groups = u.unflatten(-1, (-1, self._group_width))
        w_x, w_dt = p["selection_projection"], p["step_projection"]
        if self.groups is None:
            w_x, w_dt = w_x.unsqueeze(0), w_dt.unsqueeze(0)
        selected = torch.einsum("btgd,gsd->btgs", groups, w_x).split(self._selected, dim=-1)
        if self.norm_epsilon is not None:
            selected = tuple(root_mean_square_norm(part, self.norm_epsilon) for part in selected)
        if self.norm_weights:
            selected = tuple(part * p[role] for part, role in zip(selected, _NORMS, strict=True))
        s, b, c = selected
        raw = torch.einsum("btgr,gdr->btgd", s, w_dt).flatten(-2) + p["step_bias"].flatten()
        return functional.softplus(raw), b, c
