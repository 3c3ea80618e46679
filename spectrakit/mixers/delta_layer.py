"""Layers of the delta rule written out: DeltaNet, Gated DeltaNet, Kimi delta attention.

    q_t, k_t = SiLU(W_q hidden_t), SiLU(W_k hidden_t), of length one        (B, T, H, N)
    u_t      = W_v hidden_t                                                 (B, T, H, P)
    b_t      = W_b hidden_t                                                 (B, T, H)
    s_t      = W_s hidden_t                                                 (B, T, H)
               of Kimi delta attention W_up W_down hidden_t                 (B, T, H, N)
    g_t, beta_t, h_t, y_t as in `gated_delta` and `kimi_delta`; g_t = 0 of DeltaNet
    output_t = W_o (norm * y_t / rms(y_t))

B batch, T tokens, H heads, N state, P head width. What checkpoints of these layers have besides, a
short convolution of q, k and u and an output gate, is left to the model around them. Yang et al.
2024 (arXiv 2406.06484), section 3.3; Yang, Kautz & Hatamizadeh 2024 (arXiv 2412.06464); Kimi Team
2025 (arXiv 2510.26692), section 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.base import Observation
from spectrakit.mixers.gated_delta import GatedDeltaNet
from spectrakit.mixers.kimi_delta import KimiDelta
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


class _Projected(ABC):
    """What the layers share: everything but the decay."""

    heads: int
    state_size: int
    head_width: int
    model_width: int
    negative: bool

    def projected(self, **decay: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shapes of the projections, those of the decay's being given, and of the norm."""
        return {
            **attention_shapes(self.model_width, self.heads, self.state_size, self.head_width),
            **decay,
            "beta_projection": (self.heads, self.model_width),
            "norm": (self.head_width,),
        }

    @abstractmethod
    def log_decay(self, hidden: Tensor, p: Parameters) -> Tensor:
        """g."""

    @abstractmethod
    def observed(self, log_decay: Tensor, beta: Tensor, key: Tensor, query: Tensor) -> Recurrence:
        """See `GatedDeltaNet.observed`."""

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
class GatedDeltaLayer(_Projected, GatedDeltaNet):
    """Gated DeltaNet with its projections, between vectors of `model_width`.

    negative: whether beta is between 0 and 2, so that eigenvalues along keys may be negative.
    """

    model_width: int
    negative: bool = False

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        projected = self.projected(decay_projection=(self.heads, self.model_width))
        return {**GatedDeltaNet.shapes(self), **projected}

    def log_decay(self, hidden: Tensor, p: Parameters) -> Tensor:
        """g: (B, T, H)."""
        raised = functional.linear(hidden, p["decay_projection"]) + p["step_bias"]
        return -p["A_log"].exp() * functional.softplus(raised)

    def observed(self, log_decay: Tensor, beta: Tensor, key: Tensor, query: Tensor) -> Recurrence:
        """See `GatedDeltaNet.observed`."""
        return GatedDeltaNet.observed(self, log_decay, beta, key, query)


@dataclass(frozen=True)
class DeltaNet(GatedDeltaLayer):
    """DeltaNet: nothing decays; sizes and options are those of `GatedDeltaLayer`."""

    name: ClassVar[str] = "deltanet"
    weights_mode: ClassVar[Mode | None] = None
    weights_roles: ClassVar[tuple[str, ...]] = ()

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        return self.projected()

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """Raises UnsupportedError: what is erased is a matter of the tokens."""
        raise UnsupportedError("DeltaNet has no spectrum without tokens", hint=given(mode="data"))

    def log_decay(self, hidden: Tensor, p: Parameters) -> Tensor:  # noqa: ARG002  (there is none)
        """Zero."""
        return hidden.new_zeros(*hidden.shape[:2], self.heads)


@dataclass(frozen=True, kw_only=True)
class KimiDeltaLayer(_Projected, KimiDelta):
    """Kimi delta attention with its projections; a decay of every key channel by a low rank.

    model_width, negative: as of `GatedDeltaLayer`. decay_rank: of the decays' projection.
    """

    model_width: int
    decay_rank: int
    negative: bool = False

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        projected = self.projected(
            decay_down_projection=(self.decay_rank, self.model_width),
            decay_up_projection=(self.heads * self.state_size, self.decay_rank),
        )
        return {**KimiDelta.shapes(self), **projected}

    def log_decay(self, hidden: Tensor, p: Parameters) -> Tensor:
        """g: (B, T, H, N)."""
        low = functional.linear(hidden, p["decay_down_projection"])
        raised = functional.linear(low, p["decay_up_projection"]) + p["step_bias"]
        rate = p["A_log"].exp().reshape(self.heads, 1)
        return self.decay_gate(rate, raised.unflatten(-1, (self.heads, self.state_size)))

    def observed(self, log_decay: Tensor, beta: Tensor, key: Tensor, query: Tensor) -> Recurrence:
        """See `KimiDelta.observed`."""
        return KimiDelta.observed(self, log_decay, beta, key, query)
