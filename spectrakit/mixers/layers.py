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
