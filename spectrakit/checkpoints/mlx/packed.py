"""Matrices that MLX quantised: words of 32 bits, with a scale and an offset for every group.

    weight   (..., rows, columns * bits / 32), uint32: integers one after the other, the lowest bits
             first
    scales   (..., rows, columns / group)
    biases   likewise

value = scale * integer + bias (`mx.quantize`, mode "affine").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from spectrakit.checkpoints.turns import Shape
else:
    torch = lazy_import("torch")

WORD_BITS = 32
#: How many bits an integer may have.
BITS = (2, 3, 4, 5, 6, 8)
_BYTE_BITS = 8
#: Values that are unpacked at once; each takes some bytes for every bit on the way.
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Unpacked:
    """Weight, scales and biases to values, in float32."""

    bits: int

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(..., rows, columns). Raises ValueError where the three do not belong together."""
        weight, scales, biases = shapes
        columns = weight[-1] * WORD_BITS // self.bits
        fits = scales == biases and scales[:-1] == weight[:-1] and scales[-1] > 0
        if not fits or weight[-1] * WORD_BITS % self.bits or columns % scales[-1]:
            raise ValueError
        return (*weight[:-1], columns)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """scale * integer + bias."""
        weight, scales, biases = tensors
        shape = self.shape([tuple(tensor.shape) for tensor in tensors])
        words = weight.reshape(-1, weight.shape[-1])
        at_once = max(1, _AT_ONCE // max(1, shape[-1]))
        integers = torch.cat([self._integers(rows) for rows in words.split(at_once)])
        groups = integers.reshape(*scales.shape, -1).float()
        groups = groups * scales.float()[..., None] + biases.float()[..., None]
        return groups.reshape(shape)

    def _integers(self, words: Tensor) -> Tensor:
        """(rows, words) of 32 bits to (rows, columns) of `bits`."""
        stored = words.contiguous().view(torch.uint8)
        if self.bits == _BYTE_BITS:
            return stored
        places = torch.arange(_BYTE_BITS, dtype=torch.uint8)
        stream = (stored[..., None] >> places) & 1  # little end first, as in the words
        by_value = stream.reshape(words.shape[0], -1, self.bits)
        powers = 2 ** torch.arange(self.bits, dtype=torch.uint8)
        return (by_value * powers).sum(-1, dtype=torch.uint8)


@dataclass(frozen=True)
class ChannelsFirst:
    """The kernel of a depthwise convolution, (C, K, 1) to (C, 1, K)."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(C, 1, K)."""
        channels, width, one = shapes[0]
        return (channels, one, width)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The kernel, transposed."""
        return tensors[0].transpose(1, 2).contiguous()
