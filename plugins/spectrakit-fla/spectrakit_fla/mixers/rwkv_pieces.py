"""What fla's layers of RWKV-6 and RWKV-7 share.

low_rank(x) = W_2 act(W_1 x) + bias
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import
from spectrakit_fla.mixers.pieces import widened

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


def low_rank(
    x: Tensor, p: Parameters, role: str, act: Literal["tanh", "sigmoid"] | None = None
) -> Tensor:
    """From x (B, T, E), the roles `role`_down and _up, and `role`_bias if there is one."""
    inner = functional.linear(x, p[f"{role}_down"])
    if act is not None:
        inner = torch.tanh(inner) if act == "tanh" else torch.sigmoid(inner)
    product = functional.linear(inner, p[f"{role}_up"])
    return product + p.get(f"{role}_bias", 0)  # which may be more precise than the product


def low_rank_shapes(
    role: str, model_width: int, rank: int, channels: int, *, bias: bool = True
) -> dict[str, tuple[int, ...]]:
    """The shapes of what `low_rank` reads."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{role}_down": (rank, model_width),
        f"{role}_up": (channels, rank),
    }
    return shapes | {f"{role}_bias": (channels,)} if bias else shapes


def in_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, A) -> (B, T, H, A / H), in float32 or wider."""
    by_head: Tensor = widened(x).unflatten(-1, (heads, -1))
    return by_head


def head_norm(y: Tensor, p: Parameters, epsilon: float) -> Tensor:
    """The layer norm of every head of y (B, T, H, P), and of all its scales and shifts (B, T, A).

    Roles `norm` and `norm_bias`, (A,) each, A = H P.
    """
    normed = functional.layer_norm(widened(y), y.shape[-1:], eps=epsilon).flatten(-2)
    return normed * p["norm"] + p["norm_bias"]
