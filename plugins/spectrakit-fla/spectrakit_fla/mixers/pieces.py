"""What the layers of fla share: projections with a short convolution, and the normed read-out.

    x_t      = silu(conv(W hidden)_t), or W hidden_t without a convolution      (B, T, H, .)
    output_t = W_o (norm(y_t) act(W_g hidden_t))                                (B, T, E)

B batch, T tokens, H heads, P value width, E model width. The norm is a root mean square over a
head's P channels, with a weight that all heads share; act is silu (swish) or a sigmoid, and the
gate may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import
from spectrakit.mixers.layers import causal_convolution, root_mean_square_norm

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


def widened(x: Tensor) -> Tensor:
    """`x` in float32, or wider if it is: what exponentials and norms are computed in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def weighted_norm(x: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
    """The root mean square norm over the last axis, in the dtype of `x`."""
    normed = root_mean_square_norm(widened(x), epsilon)
    return (normed if weight is None else normed * weight).to(x.dtype)


def projected(hidden: Tensor, p: Parameters, role: str, *, activated: bool = True) -> Tensor:
    """The projection called `role` of `hidden` (B, T, E), after its convolution if it has one.

    activated: whether silu follows the convolution; nothing follows a projection without one.
    """
    x = functional.linear(hidden, p[f"{role}_projection"])
    weight = p.get(f"{role}_convolution")
    if weight is None:
        return x
    x = causal_convolution(x, weight, p.get(f"{role}_convolution_bias"))
    return functional.silu(x) if activated else x


def projection_shapes(
    model_width: int, channels: Mapping[str, int], convolution_width: int | None
) -> dict[str, tuple[int, ...]]:
    """Shapes of the projections of these `channels` by role, and of their convolutions."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{role}_projection": (width, model_width) for role, width in channels.items()
    }
    if convolution_width is not None:
        for role, width in channels.items():
            shapes[f"{role}_convolution"] = (width, 1, convolution_width)
    return shapes


@dataclass(frozen=True)
class ReadOut:
    """How the outputs y of a layer's heads become its output.

    gate: act; None without a gate. affine: whether the norm has a weight.
    """

    epsilon: float
    gate: Literal["swish", "sigmoid"] | None = "swish"
    affine: bool = True

    def shapes(self, model_width: int, heads: int, head_width: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        channels = heads * head_width
        shapes: dict[str, tuple[int, ...]] = {"output_projection": (model_width, channels)}
        if self.gate is not None:
            shapes["gate_projection"] = (channels, model_width)
        if self.affine:
            shapes["output_norm"] = (head_width,)
        return shapes

    def __call__(self, y: Tensor, hidden: Tensor, p: Parameters) -> Tensor:
        """From y (B, T, H, P) and the layer's input `hidden` (B, T, E)."""
        normed = weighted_norm(y, p.get("output_norm"), self.epsilon)
        if self.gate is not None:
            raw = functional.linear(hidden, p["gate_projection"]).unflatten(-1, y.shape[2:])
            act = functional.silu if self.gate == "swish" else torch.sigmoid
            normed = normed * act(raw)
        return functional.linear(normed.flatten(-2).to(hidden.dtype), p["output_projection"])
