"""Kimi delta attention (KDA) as fla has it: the recurrence of `spectrakit.mixers.kimi_delta`.

    s_t      = W_f2 W_f1 hidden_t                                    (B, T, H, N)
    output_t = W_o (norm(y_t) sigmoid(W_g2 W_g1 hidden_t + gate_bias))

and q_t, k_t, u_t and beta_t as in `delta_layer`, q_t and k_t scaled to length one. W_f1 and W_g1
have as many rows as a head has value channels. In `read_out` there is no gate: it is this one.
Kimi Team 2025 (arXiv 2510.26692), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers import KimiDelta
from spectrakit.mixers.layers import unit_length
from spectrakit_fla.mixers.delta_layer import DeltaLayer
from spectrakit_fla.mixers.pieces import weighted_norm, widened

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Observation, Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True, kw_only=True)
class KimiDeltaLayer(DeltaLayer, KimiDelta):
    """A Kimi delta attention layer with its projections."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        decays = {
            "step_down": (self.head_width, self.model_width),
            "step_up": (self.heads * self.state_size, self.head_width),
        }
        gate = {
            "gate_down": (self.head_width, self.model_width),
            "gate_up": (self.heads * self.head_width, self.head_width),
            "gate_bias": (self.heads * self.head_width,),
        }
        return {**KimiDelta.shapes(self), **decays, **gate, **DeltaLayer.shapes(self)}

    def log_decay(self, hidden: Tensor, p: Parameters) -> Tensor:
        """g: (B, T, H, N)."""
        raw = functional.linear(functional.linear(hidden, p["step_down"]), p["step_up"])
        raw = (widened(raw) + p["step_bias"]).unflatten(-1, (self.heads, self.state_size))
        rate = torch.exp(p["A_log"]).reshape(self.heads, 1)
        return self.decay_gate(rate, raw)

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        key = unit_length(self.key(hidden, p))
        recurrence = self.observed(
            self.log_decay(hidden, p),
            self.beta(hidden, p),
            key.repeat_interleave(self.heads // self.groups, dim=2),
            unit_length(self.query(hidden, p)),
        )
        return self.observation(recurrence, hidden, p)

    def output(self, y: Tensor, hidden: Tensor, p: Parameters) -> Tensor:
        """The layer's output (B, T, model width) from y (B, T, H, P)."""
        normed = weighted_norm(y, p["output_norm"], self.read_out.epsilon)
        raw = functional.linear(functional.linear(hidden, p["gate_down"]), p["gate_up"])
        gate = torch.sigmoid(raw + p["gate_bias"]).unflatten(-1, y.shape[2:])
        return functional.linear((normed * gate).flatten(-2), p["output_projection"])
