"""Gated DeltaNet as fla has it: the recurrence of `spectrakit.mixers.gated_delta`.

    s_t = W_a hidden_t                                               (B, T, H)
    g_t = -exp(A_log) softplus(s_t + step_bias)                      (B, T, H)

and q_t, k_t, u_t and beta_t as in `delta_layer`, q_t and k_t scaled to length one.
Yang, Kautz & Hatamizadeh 2024 (arXiv 2412.06464), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers import GatedDeltaNet
from spectrakit.mixers.layers import unit_length
from spectrakit_fla.mixers.delta_layer import DeltaLayer
from spectrakit_fla.mixers.pieces import widened

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Observation, Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True, kw_only=True)
class GatedDeltaNetLayer(DeltaLayer, GatedDeltaNet):
    """A Gated DeltaNet layer with its projections."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        projection = {"step_projection": (self.heads, self.model_width)}
        return {**GatedDeltaNet.shapes(self), **projection, **DeltaLayer.shapes(self)}

    def log_decay(self, hidden: Tensor, p: Parameters) -> Tensor:
        """g: (B, T, H)."""
        raw = widened(functional.linear(hidden, p["step_projection"]))
        return -torch.exp(p["A_log"]) * functional.softplus(raw + p["step_bias"])

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        recurrence = self.observed(
            self.log_decay(hidden, p),
            self.beta(hidden, p),
            unit_length(self.key(hidden, p)),
            unit_length(self.query(hidden, p)),
        )
        return self.observation(recurrence, hidden, p)
