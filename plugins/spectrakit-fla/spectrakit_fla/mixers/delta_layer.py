"""What fla's layers of the delta rule have in common: everything around the recurrence.

    q_t      = silu(conv(W_q hidden)_t)                          (B, T, G, N)
    k_t      = silu(conv(W_k hidden)_t)                          (B, T, G, n, N)
    u_t      = silu(conv(W_v hidden)_t)                          (B, T, H, n, P)
    beta_t   = largest_beta sigmoid(W_b hidden_t)                (B, T, H, n)

and the read-out of `pieces`. B batch, T tokens, H heads, N state, P head width, G groups (heads of
the keys and queries, each shared by H / G heads), n writes a token, which is 1 for all but
DeltaProduct; in W_k, W_v and W_b they are the outermost axis of the rows. The convolution is short,
causal and depthwise; a layer may do without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.mixers import Observation
from spectrakit_fla.mixers.pieces import ReadOut, projected, projection_shapes, widened

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.dynamics import Recurrence
    from spectrakit.mixers import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: elu is elu(x) + 1.
Activation: TypeAlias = Literal["silu", "relu", "elu", "identity"]


@dataclass(frozen=True, kw_only=True)
class DeltaLayer:
    """A layer in a model of `model_width`: H `heads` of width P and `state_size` N, G `groups`.

    convolution_width: None for a layer without convolutions. activation: of q and k. largest_beta:
    2 where eigenvalues may be negative. writes: n.
    """

    model_width: int
    heads: int
    groups: int
    state_size: int
    head_width: int
    read_out: ReadOut
    convolution_width: int | None = 4
    activation: Activation = "silu"
    largest_beta: float = 1.0
    writes: int = 1

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        keys, values = self.groups * self.state_size, self.heads * self.head_width
        channels = {"query": keys, "key": keys * self.writes, "value": values * self.writes}
        return {
            **projection_shapes(self.model_width, channels, self.convolution_width),
            "beta_projection": (self.heads * self.writes, self.model_width),
            **self.read_out.shapes(self.model_width, self.heads, self.head_width),
        }

    def query(self, hidden: Tensor, p: Parameters) -> Tensor:
        """q: (B, T, G, N)."""
        query = self._activated(projected(hidden, p, "query", activated=False))
        per_group: Tensor = query.unflatten(-1, (self.groups, -1))
        return per_group

    def keys(self, hidden: Tensor, p: Parameters) -> Tensor:
        """k: (B, T, G, n, N)."""
        key = self._activated(projected(hidden, p, "key", activated=False))
        per_write: Tensor = key.unflatten(-1, (self.writes, self.groups, -1))
        return per_write.transpose(-2, -3)

    def key(self, hidden: Tensor, p: Parameters) -> Tensor:
        """k of a layer that writes once a token: (B, T, G, N)."""
        return self.keys(hidden, p).squeeze(-2)

    def betas(self, hidden: Tensor, p: Parameters) -> Tensor:
        """Beta: (B, T, H, n)."""
        raw = widened(functional.linear(hidden, p["beta_projection"]))
        per_write: Tensor = torch.sigmoid(raw).unflatten(-1, (self.writes, -1))
        return self.largest_beta * per_write.mT

    def beta(self, hidden: Tensor, p: Parameters) -> Tensor:
        """Beta of a layer that writes once a token: (B, T, H)."""
        return self.betas(hidden, p).squeeze(-1)

    def observation(self, recurrence: Recurrence, hidden: Tensor, p: Parameters) -> Observation:
        """`recurrence` driven by u, the n of a token side by side (B, T, H, n P), and read out."""
        value = functional.silu(projected(hidden, p, "value", activated=False))
        value = value.unflatten(-1, (self.writes, self.heads, -1)).transpose(-2, -3)
        return Observation(recurrence, value.flatten(-2), lambda y: self.output(y, hidden, p))

    def output(self, y: Tensor, hidden: Tensor, p: Parameters) -> Tensor:
        """The layer's output (B, T, model width) from y (B, T, H, P)."""
        return self.read_out(y, hidden, p)

    def _activated(self, x: Tensor) -> Tensor:
        """In float32 or wider."""
        x = widened(x)
        if self.activation == "silu":
            return functional.silu(x)
        if self.activation == "elu":
            return functional.elu(x) + 1
        return functional.relu(x) if self.activation == "relu" else x
