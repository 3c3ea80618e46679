"""A pre-norm block: mixer, with what may stand around it, then a feed-forward layer.

z = norm(x);  z = silu(conv(z))                  where there is a convolution
y = mixer(z) + reversed(mixer'(reversed(z)))     the second where it reads both ways
y = y silu(W_g norm(x))                          where there is a gate
y = W y, or GLU(W gelu(y))                       where there is an output layer
x = x + dropout(y)
x = x + dropout(mlp(norm'(x)))                   where there is one
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from spectrakit.mixers.layers import causal_convolution
from spectrakit.training.models.builders import builder
from spectrakit.training.models.dropout import KeyedDropout

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.training.models.config import SpectrakitConfig


class Block(nn.Module):
    """One block of a model; `index` counts them from 0."""

    def __init__(self, config: SpectrakitConfig, index: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm = norm_of(config)
        self.conv = ShortConvolution(width, config.conv) if config.conv else None
        self.mixer = builder(config.mixer).build(config)
        self.mixer_reverse = builder(config.mixer).build(config) if config.bidirectional else None
        self.gate = nn.Linear(width, width) if config.gate else None
        self.output = _output(config)
        self.mixer_dropout = KeyedDropout(config.dropout, 2 * index + 1)
        self.mlp_norm = None if config.mlp == "none" else norm_of(config)
        self.mlp = _mlp(config)
        self.mlp_dropout = KeyedDropout(config.dropout, 2 * index + 2)

    def forward(self, x: Tensor, lengths: Tensor | None, keys: Tensor | None) -> Tensor:
        """The residual stream (B, T, E) after this block.

        lengths: (B,) tokens of each sequence; None where there is no padding. keys: see
        `KeyedDropout`.
        """
        normed = self.norm(x)
        z = normed if self.conv is None else functional.silu(self.conv(normed))
        y = self.mixer(z)
        if self.mixer_reverse is not None:
            y = y + flipped(self.mixer_reverse(flipped(z, lengths)), lengths)
        if self.gate is not None:
            y = y * functional.silu(self.gate(normed))
        if self.output is not None:
            y = self.output(y)
        x = x + self.mixer_dropout(y, keys)
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.mlp_dropout(self.mlp(self.mlp_norm(x)), keys)
        return x


class ShortConvolution(nn.Module):
    """A depthwise convolution over `reach` tokens, the present one the last."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 1, reach))
        self.bias = nn.Parameter(torch.empty(width))

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(reach), as torch's."""
        bound = self.weight.shape[-1] ** -0.5
        self.weight.data.uniform_(-bound, bound)
        self.bias.data.uniform_(-bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, E) -> (B, T, E)."""
        return causal_convolution(x, self.weight, self.bias)


class GLU(nn.Module):
    """W_2 (W_1 x sigmoid(V x)) of an inner width; without W_2 where that is the outer one."""

    def __init__(self, width: int, inner: int, *, closed: bool) -> None:
        super().__init__()
        self.enter = nn.Linear(width, 2 * inner)
        self.leave = nn.Linear(inner, width) if closed else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, E) -> (B, T, E)."""
        gated = functional.glu(self.enter(x), dim=-1)
        return gated if self.leave is None else self.leave(gated)


def norm_of(config: SpectrakitConfig) -> nn.Module:
    """A norm over the model's width."""
    kind = nn.RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.hidden_size, eps=config.norm_epsilon)


def _output(config: SpectrakitConfig) -> nn.Module | None:
    width = config.hidden_size
    if config.output == "linear":
        return nn.Linear(width, width)
    if config.output == "glu":
        return nn.Sequential(nn.GELU(), GLU(width, width, closed=False))
    return None


def _mlp(config: SpectrakitConfig) -> nn.Module | None:
    width, inner = config.hidden_size, config.mlp_width
    if config.mlp == "glu":
        return GLU(width, inner, closed=True)
    if config.mlp == "mlp":
        return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
    return None


def flipped(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (B, T, ...) backwards in time, each sequence within its own length; padding stays."""
    if lengths is None:
        return x.flip(1)
    positions = torch.arange(x.shape[1], device=x.device)
    back = lengths.unsqueeze(-1) - 1 - positions
    index = torch.where(back >= 0, back, positions)
    return x.gather(1, index.view(*index.shape, *[1] * (x.dim() - 2)).expand_as(x))
