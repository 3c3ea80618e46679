"""HGRN2: the gates of HGRN as decays of a matrix state, whose keys are what the gates let in.

    f_t      = b_l + (1 - b_l) sigmoid(W_f hidden_t)                  (B, T, H, N)
    q_t      = silu(W_q hidden_t)                                     (B, T, H, N)
    u_t      = W_i hidden_t                                           (B, T, H, P)
    h_t      = diag(f_t) h_{t-1} + (1 - f_t) u_t^T                    h: (B, H, N, P)
    y_t      = h_t^T q_t / sqrt(N)                                    (B, T, H, P)
    output_t = W_o norm(y_t)

B batch, T tokens, H heads, N key width, P value width; b_l: see `lower_bounds`. A short convolution
may follow W_f, W_q and W_i. The norm is a root mean square over all H P channels, with a learned
weight. Qin et al. 2024 (arXiv 2404.07904), section 3.

Nominal: f_t where W_f hidden_t is zero: (1 + b_l) / 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import DiagonalDecay, HeadAxis, Mode, Recurrence
from spectrakit.mixers.base import Observation
from spectrakit_fla.mixers.gla import gated_linear_attention
from spectrakit_fla.mixers.lower_bounds import log_forget, log_forget_at_zero
from spectrakit_fla.mixers.pieces import projected, projection_shapes, weighted_norm, widened

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: Of the norm; fla's layer does not hand the config's `norm_eps` to the kernel that computes it.
_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class HGRN2:
    """An HGRN2 layer, number `layer` of a model: H `heads`, `state_size` N and `head_width` P.

    layers: rows of the lower bounds; None for a model without them. affine: whether the norm has a
    weight. convolution_width: None without short convolutions.
    """

    name: ClassVar[str] = "hgrn2"
    operator: ClassVar[str] = DiagonalDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    heads: int
    state_size: int
    head_width: int
    layer: int
    layers: int | None
    convolution_width: int | None = None
    affine: bool = True

    @property
    def weights_roles(self) -> tuple[str, ...]:
        """The bounds, where there are any: the gates have no bias."""
        return () if self.layers is None else ("lower_bounds",)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        keys, values = self.heads * self.state_size, self.heads * self.head_width
        channels = {"query": keys, "forget": keys, "input": values}
        shapes = projection_shapes(self.model_width, channels, self.convolution_width)
        shapes["output_projection"] = (self.model_width, values)
        if self.affine:
            shapes["output_norm"] = (values,)
        if self.layers is not None:
            shapes["lower_bounds"] = (self.layers, keys)
        return shapes

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the gate's projection zero, in float64."""
        keys = self.heads * self.state_size
        log_decay = log_forget_at_zero(keys, p.get("lower_bounds"), self.layer)
        return Recurrence(
            DiagonalDecay(log_decay.unflatten(-1, (self.heads, -1))),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), its state in float32 or wider."""
        query, raw, u = (
            widened(projected(hidden, p, role, activated=False))
            for role in ("query", "forget", "input")
        )
        log_decay = log_forget(raw, p.get("lower_bounds"), self.layer)
        log_decay = log_decay.unflatten(-1, (self.heads, -1))
        recurrence = gated_linear_attention(
            log_decay,
            -torch.expm1(log_decay),
            functional.silu(query).unflatten(-1, (self.heads, -1)),
            self.head_width,
        )

        def finish(y: Tensor) -> Tensor:
            normed = weighted_norm(y.flatten(-2), p.get("output_norm"), _NORM_EPSILON)
            return functional.linear(normed.to(hidden.dtype), p["output_projection"])

        return Observation(recurrence, u.unflatten(-1, (self.heads, -1)), finish)
