"""Heads of values that the converter put into another order, put back."""

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


@dataclass(frozen=True)
class ByKeyHead:
    """Qwen3-Next's projection of all: queries, keys, values and gates of one key head after the
    other, made of [queries, keys, values] of all heads, and gates of all heads.

    values: channels of values by key head.
    """

    key_heads: int
    key_width: int
    values_width: int

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(key heads * (2 key width + 2 values), E)."""
        (rows, width), (gates, same) = shapes
        values = self.key_heads * self.values_width
        if rows != 2 * self.key_heads * self.key_width + values or gates != values or width != same:
            raise ValueError
        return (rows + gates, width)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The rows, head by head."""
        first, gates = (tensor.float() for tensor in tensors)
        keys = self.key_heads * self.key_width
        queries, keys_, values = first.split([keys, keys, first.shape[0] - 2 * keys])
        by_head = [
            part.reshape(self.key_heads, -1, part.shape[1])
            for part in (queries, keys_, values, gates)
        ]
        return torch.cat(by_head, dim=1).reshape(-1, first.shape[1])


@dataclass(frozen=True)
class Untiled:
    """Value heads of `size` entries along `axis`: tiled over the key heads, now grouped by them.

    Head 0 of every key head came first, then head 1 of each; from entry `first` of the axis on.
    """

    key_heads: int
    by_key_head: int
    size: int
    axis: int = 0
    first: int = 0

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The same."""
        expected = self.first + self.key_heads * self.by_key_head * self.size
        if shapes[0][self.axis] != expected:
            raise ValueError
        return shapes[0]

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The heads in transformers' order."""
        moved = tensors[0].movedim(self.axis, 0)
        before, heads = moved[: self.first], moved[self.first :]
        tiled = heads.reshape(self.by_key_head, self.key_heads, self.size, *heads.shape[1:])
        grouped = tiled.transpose(0, 1).reshape(heads.shape)
        return torch.cat([before, grouped]).movedim(0, self.axis).contiguous()


@dataclass(frozen=True)
class KeysAndValues:
    """The second map of latent attention: (H, rank, key) and (H, value, rank) to (H * ., rank)."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """Rows of keys and values, by head."""
        (heads, rank, keys), (same, values, equal) = shapes
        if heads != same or rank != equal:
            raise ValueError
        return (heads * (keys + values), rank)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """Each head's keys, then its values."""
        keys, values = (tensor.float() for tensor in tensors)
        return torch.cat([keys.transpose(1, 2), values], dim=1).flatten(0, 1)
