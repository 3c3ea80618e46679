"""Forget gates above a bound that is learned for the whole model, larger the deeper the layer.

    b_l = sum_{1 <= j <= l} softmax(lower_bounds)_j        (C,), the softmax over layers; b_0 = 0
    f_t = b_l + (1 - b_l) sigmoid(raw_t)                   (B, T, C)

C channels. HGRN and HGRN2: Qin et al. 2023 (arXiv 2311.04823), section 3.2; Qin et al. 2024 (arXiv
2404.07904), section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit_fla.mixers.pieces import widened

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


def log_forget(raw: Tensor, lower_bounds: Tensor | None, layer: int) -> Tensor:
    """log f of raw (..., C); lower_bounds: (L, C), None for a model without them."""
    log_gate = functional.logsigmoid(raw)
    if lower_bounds is None:
        return log_gate
    shares = widened(lower_bounds).softmax(0)
    bound = shares[1 : layer + 1].sum(0).to(raw.dtype)
    return torch.logaddexp(bound.log(), torch.log1p(-bound) + log_gate)


def log_forget_at_zero(channels: int, lower_bounds: Tensor | None, layer: int) -> Tensor:
    """log f (C,) of raw = 0, in float64: what weights alone say."""
    if lower_bounds is None:
        return log_forget(torch.zeros(channels, dtype=torch.float64), None, layer)
    bounds = lower_bounds.double()
    return log_forget(bounds.new_zeros(channels), bounds, layer)
