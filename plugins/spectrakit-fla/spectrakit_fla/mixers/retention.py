"""RetNet's multi-scale retention, from its input to its output.

    q_t, k_t = W_q hidden_t, W_k hidden_t                          (B, T, H, N), (B, T, G, N)
    q_t, k_t = rotated by t theta_i in the i-th pair of their channels
    u_t      = W_v hidden_t                                        (B, T, G, P)
    h_t      = (1 - 2^(-5 - head)) h_{t-1} + k_t u_t^T             h: (B, H, N, P)
    y_t      = h_t^T q_t / sqrt(N)                                 (B, T, H, P)
    output_t = W_o (norm(y_t) silu(W_g hidden_t))

B batch, T tokens, H heads, G groups (H / G consecutive heads share key and value), N key width, P
value width, theta_i = 10000^(-2 i / N). The rotation is part of k_t and q_t, so A is static; Sun et
al. 2023 (arXiv 2307.08621), section 2.2. For norm and gate see `pieces`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spectrakit.mixers import Retention
from spectrakit.mixers.base import Observation
from spectrakit.mixers.convolved_attention import Rotary
from spectrakit_fla.mixers.pieces import ReadOut, projected, projection_shapes, widened

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers.base import Parameters


@dataclass(frozen=True)
class MultiScaleRetention(Retention):
    """Retention of H `heads`: keys of `state_size` N, values of `head_width` P, in G `groups`."""

    model_width: int
    groups: int
    read_out: ReadOut = field(default_factory=lambda: ReadOut(1e-6))

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        channels = {
            "query": self.heads * self.state_size,
            "key": self.groups * self.state_size,
            "value": self.groups * self.head_width,
        }
        return projection_shapes(self.model_width, channels, None) | self.read_out.shapes(
            self.model_width, self.heads, self.head_width
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), its state in float32 or wider."""
        query, key, value = (
            widened(projected(hidden, p, role)).unflatten(-1, (-1, width))
            for role, width in (
                ("query", self.state_size),
                ("key", self.state_size),
                ("value", self.head_width),
            )
        )
        rotary = Rotary(self.state_size)
        recurrence = self.observed(rotary(key), rotary(query) * self.state_size**-0.5)
        values = value.repeat_interleave(self.heads // self.groups, dim=2)
        return Observation(recurrence, values, lambda y: self.read_out(y, hidden, p))
