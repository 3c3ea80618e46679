"""Layers of the delta rule written out, with a decay (Gated DeltaNet) and without (DeltaNet).

    q_t, k_t = SiLU(W_q hidden_t), SiLU(W_k hidden_t), of length one        (B, T, H, N)
    u_t      = W_v hidden_t                                                 (B, T, H, P)
    s_t, b_t = W_s hidden_t, W_b hidden_t                                   (B, T, H)
    g_t, beta_t, h_t, y_t as in `gated_delta`; g_t = 0 without a decay
    output_t = W_o (norm * y_t / rms(y_t))

B batch, T tokens, H heads, N state, P head width. What checkpoints of these layers have besides, a
short convolution of q, k and u and an output gate, is left to the model around them. Yang et al.
2024 (arXiv 2406.06484), section 3.3, and Yang, Kautz & Hatamizadeh 2024 (arXiv 2412.06464).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.base import Observation
from spectrakit.mixers.gated_delta import GatedDeltaNet
from spectrakit.mixers.layers import root_mean_square_norm, unit_length
from spectrakit.mixers.linear_attention import attention_shapes, projections
from spectrakit.wording import given

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.dynamics import Mode, Recurrence
    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

_EPSILON = 1e-6


@dataclass(frozen=True)
class GatedDeltaLayer(GatedDeltaNet):
    """Gated DeltaNet with its projections, between vectors of `model_width`.

    negative: whether beta is between 0 and 2, so that eigenvalues along keys may be negative.
    """

    model_width: int
    negative: bool = False

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes = attention_shapes(self.model_width, self.heads, self.state_size, self.head_width)
        gates = {"decay_projection": (self.heads, self.model_width)} if self.weights_mode else {}
        return {
            **(super().shapes() if self.weights_mode else {}),
            **shapes,
            **gates,
            "beta_projection": (self.heads, self.model_width),
            "norm": (self.head_width,),
        }

    def log_decay(self, hidden: Tensor, p: Parameters) -> Tensor:
        """g: (B, T, H)."""
        raised = functional.linear(hidden, p["decay_projection"]) + p["step_bias"]
        return -p["A_log"].exp() * functional.softplus(raised)

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        query, key, value = projections(hidden, p, self.heads)
        query, key = (unit_length(functional.silu(x), _EPSILON) for x in (query, key))
        beta = functional.linear(hidden, p["beta_projection"]).sigmoid()
        beta = 2 * beta if self.negative else beta
        recurrence = self.observed(self.log_decay(hidden, p), beta, key, query)

        def finish(y: Tensor) -> Tensor:
            normed = root_mean_square_norm(y, _EPSILON) * p["norm"]
            return functional.linear(normed.flatten(-2), p["output_projection"])

        return Observation(recurrence, value, finish)


@dataclass(frozen=True)
class DeltaNet(GatedDeltaLayer):
    """DeltaNet: nothing decays; sizes and options are those of `GatedDeltaLayer`."""

    name: ClassVar[str] = "deltanet"
    weights_mode: ClassVar[Mode | None] = None
    weights_roles: ClassVar[tuple[str, ...]] = ()

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """Raises UnsupportedError: what is erased is a matter of the tokens."""
        raise UnsupportedError("DeltaNet has no spectrum without tokens", hint=given(mode="data"))

    def log_decay(self, hidden: Tensor, p: Parameters) -> Tensor:  # noqa: ARG002  (there is none)
        """Zero."""
        return hidden.new_zeros(*hidden.shape[:2], self.heads)
