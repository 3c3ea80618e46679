"""DeltaNet: a key's new value replaces the old one, and nothing else is forgotten.

    h_t = (I - beta_t k_t k_t^T) h_{t-1} + beta_t k_t u_t^T          h: (B, H, N, P)
    y_t = h_t^T q_t / sqrt(N)                                        (B, T, H, P)

B batch, T tokens, H heads, N state, P head width; q_t, k_t, u_t and beta_t as in `delta_layer`,
with H groups and an activation of q_t and k_t that may be another than silu. q_t and k_t are then
scaled: to length one, or so that their entries sum to one ("sum", which leaves |k_t| free). beta_t
is `largest_beta` in a layer without W_b.
Yang et al. 2024 (arXiv 2406.06484), section 2; Schlag et al. 2021 (arXiv 2102.11174).

N - 1 of the eigenvalues are 1 whatever the weights, and the one along k_t is 1 - beta_t |k_t|^2:
without tokens there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    Contraction,
    DeltaRule,
    HeadAxis,
    Mode,
    OuterProduct,
    Recurrence,
)
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.layers import unit_length
from spectrakit.wording import given
from spectrakit_fla.mixers.delta_layer import DeltaLayer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers import Observation, Parameters
else:
    torch = lazy_import("torch")

Scaling: TypeAlias = Literal["l2", "sum"]


@dataclass(frozen=True, kw_only=True)
class DeltaNet(DeltaLayer):
    """A DeltaNet layer.

    scaling: of queries and keys. learned_beta: whether there is a W_b.
    """

    name: ClassVar[str] = "delta_net"
    operator: ClassVar[str] = DeltaRule.structure
    weights_mode: ClassVar[Mode | None] = None
    weights_roles: ClassVar[tuple[str, ...]] = ()
    head_axis: ClassVar[HeadAxis] = "head"

    scaling: Scaling = "l2"
    learned_beta: bool = True

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes = dict(super().shapes())
        if not self.learned_beta:
            del shapes["beta_projection"]
        return shapes

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """Raises UnsupportedError: without tokens nothing is erased."""
        message = "DeltaNet has no spectrum without tokens"
        raise UnsupportedError(message, hint=given(mode="data"))

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        key = self._scaled(self.key(hidden, p))
        query = self._scaled(self.query(hidden, p))
        if self.learned_beta:
            beta = self.beta(hidden, p)
        else:
            beta = key.new_full(key.shape[:-1], self.largest_beta)
        recurrence = Recurrence(
            DeltaRule(torch.zeros_like(beta), beta, key),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            input_map=OuterProduct(key, gain=beta),
            output_map=Contraction(query * self.state_size**-0.5),
        )
        return self.observation(recurrence, hidden, p)

    def _scaled(self, x: Tensor) -> Tensor:
        if self.scaling == "l2":
            return unit_length(x)
        return x / x.sum(-1, keepdim=True)
