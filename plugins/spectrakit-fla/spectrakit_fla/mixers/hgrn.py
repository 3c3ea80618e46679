"""HGRN: one gated real decay per channel, above a bound that grows with the layer's depth.

    f_t      = b_l + (1 - b_l) sigmoid(W_f hidden_t)                  (B, T, C)
    h_t      = f_t h_{t-1} + (1 - f_t) silu(W_i hidden_t)             h: (B, C)
    output_t = W_o (norm(h_t) silu(W_g hidden_t))

B batch, T tokens, C channels; b_l: see `lower_bounds`. A short convolution may follow W_f and W_i.
The norm is a root mean square over the C channels, with a learned weight. Qin et al. 2023 (arXiv
2311.04823), section 3, without the complex phase, as fla has it.

Nominal: f_t where W_f hidden_t is zero: (1 + b_l) / 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    ConstantOutput,
    HeadAxis,
    Mode,
    OuterProduct,
    Recurrence,
    ScalarDecay,
)
from spectrakit.mixers.base import Observation
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


@dataclass(frozen=True)
class HGRN:
    """An HGRN layer of C `channels`, number `layer` of a model.

    layers: rows of the lower bounds; None for a model without them. affine: whether the norm has a
    weight. convolution_width: None without short convolutions.
    """

    name: ClassVar[str] = "hgrn"
    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    head_axis: ClassVar[HeadAxis] = "channel"

    model_width: int
    channels: int
    layer: int
    layers: int | None
    convolution_width: int | None = None
    norm_epsilon: float = 1e-6
    affine: bool = True

    @property
    def weights_roles(self) -> tuple[str, ...]:
        """The bounds, where there are any: the gates have no bias."""
        return () if self.layers is None else ("lower_bounds",)

    @property
    def heads(self) -> int:
        """C: channels do not interact, each is a head of width one."""
        return self.channels

    @property
    def state_size(self) -> int:
        """One number per channel."""
        return 1

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        convolved = {"forget": self.channels, "input": self.channels}
        shapes = projection_shapes(self.model_width, convolved, self.convolution_width)
        shapes["gate_projection"] = (self.channels, self.model_width)
        shapes["output_projection"] = (self.model_width, self.channels)
        if self.affine:
            shapes["output_norm"] = (self.channels,)
        if self.layers is not None:
            shapes["lower_bounds"] = (self.layers, self.channels)
        return shapes

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the gate's projection zero, in float64."""
        log_decay = log_forget_at_zero(self.channels, p.get("lower_bounds"), self.layer)
        return Recurrence(
            ScalarDecay(log_decay, self.state_size),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), its state in float32 or wider."""
        raw = widened(projected(hidden, p, "forget", activated=False))
        log_decay = log_forget(raw, p.get("lower_bounds"), self.layer)
        u = functional.silu(widened(projected(hidden, p, "input", activated=False)))
        one = log_decay.new_ones(*hidden.shape[:2], 1, 1)
        recurrence = Recurrence(
            ScalarDecay(log_decay, self.state_size),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            input_map=OuterProduct(one, gain=-torch.expm1(log_decay)),
            output_map=ConstantOutput(log_decay.new_ones(self.channels, 1, 1)),
        )

        def finish(y: Tensor) -> Tensor:
            normed = weighted_norm(y.squeeze(-1), p.get("output_norm"), self.norm_epsilon)
            gated = normed * functional.silu(functional.linear(hidden, p["gate_projection"]))
            return functional.linear(gated.to(hidden.dtype), p["output_projection"])

        return Observation(recurrence, u.unsqueeze(-1), finish)
