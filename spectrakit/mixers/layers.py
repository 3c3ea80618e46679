"""Small pieces that several mixers' equations share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


def in_float64(p: Parameters) -> Parameters:
    """Parameters by role in float64; those that are no floats as they are."""
    return {role: x.double() if x.is_floating_point() else x for role, x in p.items()}


def causal_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Depthwise convolution over past tokens only: x (B, T, D), weight (D, 1, K) -> (B, T, D)."""
    channels, _, width = weight.shape
    padded = functional.pad(x.transpose(1, 2), (width - 1, 0))
    return functional.conv1d(padded, weight, bias, groups=channels).transpose(1, 2)


def root_mean_square_norm(x: Tensor, epsilon: float) -> Tensor:
    """X / sqrt(mean(x^2) + epsilon) over the last axis."""
    return x * (x.square().mean(-1, keepdim=True) + epsilon).rsqrt()


def unit_length(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """X / sqrt(|x|^2 + epsilon) over the last axis; zero where x is."""
    return x * (x.square().sum(-1, keepdim=True) + epsilon).rsqrt()


def token_before(x: Tensor, first: float = 0.0) -> Tensor:
    """x_{t-1} of (B, T, ...), and `first` at the first token."""
    return torch.cat([torch.full_like(x[:, :1], first), x[:, :-1]], dim=1)


#: Of the norm of each head's output in RWKV: 1e-5 of outputs that are divided by 8.
_HEAD_EPSILON = 64e-5


def widened(x: Tensor) -> Tensor:
    """`x` in float32 at least, in which the state is kept."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def in_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, A) -> (B, T, H, A / H), in float32 at least."""
    return widened(x.unflatten(-1, (heads, -1)))


def head_norm(y: Tensor, p: Parameters) -> Tensor:
    """RWKV's layer norm of every head of y (B, T, H, P), with scales and shifts: (B, T, A).

    Roles `norm` and `norm_bias`, (A,) each, A = H P.
    """
    normed = functional.layer_norm(y, y.shape[-1:], eps=_HEAD_EPSILON).flatten(-2)
    return normed * p["norm"] + p["norm_bias"]
