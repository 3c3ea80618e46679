"""What the time mixings of several versions share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: Of the norm of each head's output: 1e-5 of outputs that are divided by 8.
_HEAD_EPSILON = 64e-5


def widened(x: Tensor) -> Tensor:
    """`x` in float32 at least, in which the state is kept."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def head_norm(y: Tensor, p: Parameters) -> Tensor:
    """The layer norm of every head of y (B, T, H, P), and of all its scales and shifts (B, T, A).

    Roles `norm` and `norm_bias`, (A,) each, A = H P.
    """
    normed = functional.layer_norm(y, y.shape[-1:], eps=_HEAD_EPSILON).flatten(-2)
    return normed * p["norm"] + p["norm_bias"]


def in_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, A) -> (B, T, H, A / H), in float32 at least."""
    return widened(x.unflatten(-1, (heads, -1)))
