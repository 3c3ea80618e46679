"""Dropout that is a function of the example, not of the batch it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from spectrakit.training import keyed

if TYPE_CHECKING:
    from torch import Tensor


class KeyedDropout(nn.Module):
    """Dropout with probability `p`; `site`: its number among those of the model."""

    def __init__(self, p: float, site: int) -> None:
        super().__init__()
        self.p = p
        self.site = site

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """x (B, T, E) with entries dropped: by keys (B,) alone, or by torch's generator."""
        if not self.training or self.p == 0:
            return x
        if keys is None:
            return functional.dropout(x, self.p)
        drawn = keyed.uniform(keyed.with_part(keys, self.site), x[0].numel(), torch.float32)
        return x * ((drawn >= self.p).view(x.shape) / (1 - self.p)).to(x.dtype)
