"""DeltaProduct and Gated DeltaProduct: n steps of the delta rule a token.

    h_t0 = e^{g_t} h_{t-1}                                           h: (B, H, N, P)
    h_tj = (I - beta_tj k_tj k_tj^T) h_t,j-1 + beta_tj k_tj u_tj^T   j = 1 ... n
    h_t  = h_tn
    y_t  = h_t^T q_t / sqrt(N)                                       (B, T, H, P)

B batch, T tokens, H heads, N state, P head width, n writes a token; q_t, k_tj, u_tj and beta_tj as
in `delta_layer`, q_t and k_tj scaled to length one. g_t as in `gated_deltanet`, or zero in a layer
without a forget gate. Siems et al. 2025 (arXiv 2502.10297), section 3. For A_t, whose eigenvalues
may be complex, see `spectrakit.dynamics.delta_product`.

Nominal: A_t where the projections are zero. Then g_t is at its bias, and since the keys are zero
nothing is erased: A = e^g I. Without a forget gate it is the identity, whatever the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    Contraction,
    DeltaProduct,
    HeadAxis,
    Mode,
    OuterProducts,
    Recurrence,
)
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.layers import unit_length
from spectrakit.wording import given
from spectrakit_fla.mixers.delta_layer import DeltaLayer
from spectrakit_fla.mixers.gated_deltanet import GatedDeltaNetLayer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers import Observation, Parameters
else:
    torch = lazy_import("torch")


@dataclass(frozen=True, kw_only=True)
class DeltaProductLayer(DeltaLayer):
    """A DeltaProduct layer without a forget gate."""

    name: ClassVar[str] = "deltaproduct"
    operator: ClassVar[str] = DeltaProduct.structure
    weights_mode: ClassVar[Mode | None] = None
    weights_roles: ClassVar[tuple[str, ...]] = ()
    head_axis: ClassVar[HeadAxis] = "head"

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """Raises UnsupportedError: without tokens nothing is erased."""
        message = "DeltaProduct without a forget gate has no spectrum without tokens"
        raise UnsupportedError(message, hint=given(mode="data"))

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        recurrence = delta_product(self, None, hidden, p)
        return self.observation(recurrence, hidden, p)


@dataclass(frozen=True, kw_only=True)
class GatedDeltaProductLayer(GatedDeltaNetLayer):
    """A DeltaProduct layer with a forget gate."""

    name: ClassVar[str] = "gated_deltaproduct"
    operator: ClassVar[str] = DeltaProduct.structure

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        recurrence = delta_product(self, self.log_decay(hidden, p), hidden, p)
        return self.observation(recurrence, hidden, p)


def delta_product(
    layer: DeltaLayer, log_decay: Tensor | None, hidden: Tensor, p: Parameters
) -> Recurrence:
    """DeltaProduct with the log-decay g (B, T, H), or without one."""
    key = unit_length(layer.keys(hidden, p))
    key = key.repeat_interleave(layer.heads // layer.groups, dim=2)
    beta = layer.betas(hidden, p)
    if log_decay is None:
        log_decay = torch.zeros_like(beta[..., 0])
    operator = DeltaProduct(log_decay, beta, key)
    return Recurrence(
        operator,
        mode="data",
        gauge="unnormalised",
        head_axis="head",
        width=layer.head_width,
        input_map=OuterProducts(operator.write_keys()),
        output_map=Contraction(unit_length(layer.query(hidden, p)) * layer.state_size**-0.5),
    )
