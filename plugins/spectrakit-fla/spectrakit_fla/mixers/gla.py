"""Gated linear attention (GLA): a decay for every key channel, chosen by the token.

    q_t, k_t = W_q hidden_t, W_k hidden_t                          (B, T, H, N), (B, T, G, N)
    u_t      = W_v hidden_t                                        (B, T, G, P)
    g_t      = log sigmoid(W_2 W_1 hidden_t + b) / 16              (B, T, G, N), clamp at least
    h_t      = diag(e^{g_t}) h_{t-1} + k_t u_t^T                   h: (B, H, N, P)
    y_t      = h_t^T q_t / sqrt(N)                                 (B, T, H, P)
    output_t = W_o (norm(y_t) silu(W_g hidden_t))

B batch, T tokens, H heads, G groups (H / G consecutive heads share key, decay and value), N key
width, P value width. W_1 has few rows. A short convolution and silu may follow W_q, W_k and W_v.
Yang et al. 2024 (arXiv 2312.06635), section 4.4. For norm and gate see `pieces`.

Nominal: g_t where W_2 W_1 hidden_t is zero, so that the gate is at its bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, DiagonalDecay, HeadAxis, Mode, OuterProduct, Recurrence
from spectrakit.mixers.base import Observation
from spectrakit_fla.mixers.pieces import ReadOut, projected, projection_shapes, widened

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    functional = lazy_import("torch.nn.functional")

#: What the logarithm of the gate is divided by, so that it begins near 1.
_TEMPERATURE = 16


@dataclass(frozen=True)
class GLA:
    """GLA of H `heads`: keys of `state_size` N, values of `head_width` P, in G `groups`.

    gate_rank: rows of W_1. clamp: the least g_t; None for no limit. convolution_width: None without
    short convolutions.
    """

    name: ClassVar[str] = "gla"
    operator: ClassVar[str] = DiagonalDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("decay_bias",)
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    heads: int
    groups: int
    state_size: int
    head_width: int
    gate_rank: int = 16
    clamp: float | None = None
    convolution_width: int | None = None
    read_out: ReadOut = field(default_factory=lambda: ReadOut(1e-6))

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        keys = self.groups * self.state_size
        channels = {
            "query": self.heads * self.state_size,
            "key": keys,
            "value": self.groups * self.head_width,
        }
        decay = {
            "decay_down": (self.gate_rank, self.model_width),
            "decay_up": (keys, self.gate_rank),
            "decay_bias": (keys,),
        }
        return (
            projection_shapes(self.model_width, channels, self.convolution_width)
            | decay
            | self.read_out.shapes(self.model_width, self.heads, self.head_width)
        )

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the gate at its bias, in float64."""
        return Recurrence(
            DiagonalDecay(self._log_decay(p["decay_bias"].double())),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), its state in float32 or wider."""
        query = widened(projected(hidden, p, "query")).unflatten(-1, (self.heads, -1))
        key = widened(projected(hidden, p, "key")).unflatten(-1, (self.groups, -1))
        value = widened(projected(hidden, p, "value")).unflatten(-1, (self.groups, -1))
        low_rank = functional.linear(hidden, p["decay_down"])
        raw = functional.linear(low_rank, p["decay_up"], p["decay_bias"])
        recurrence = gated_linear_attention(
            self._log_decay(widened(raw)), key, query, self.head_width
        )
        values = value.repeat_interleave(self.heads // self.groups, dim=2)
        return Observation(recurrence, values, lambda y: self.read_out(y, hidden, p))

    def _log_decay(self, raw: Tensor) -> Tensor:
        """g (..., H, N) of its argument (..., G N) before the sigmoid."""
        g: Tensor = functional.logsigmoid(raw) / _TEMPERATURE
        if self.clamp is not None:
            g = g.clamp(min=self.clamp)
        g = g.unflatten(-1, (self.groups, self.state_size))
        return g.repeat_interleave(self.heads // self.groups, dim=-2)


def gated_linear_attention(
    log_decay: Tensor, key: Tensor, query: Tensor, head_width: int
) -> Recurrence:
    """h_t = diag(e^{g_t}) h_{t-1} + k_t u_t^T, y_t = h_t^T q_t / sqrt(N).

    log_decay: g (B, T, H, N). key: (B, T, G, N). query: (B, T, H, N). head_width: P.
    """
    return Recurrence(
        DiagonalDecay(log_decay),
        mode="data",
        gauge="unnormalised",
        head_axis="head",
        width=head_width,
        input_map=OuterProduct(key),
        output_map=Contraction(query * query.shape[-1] ** -0.5),
    )
