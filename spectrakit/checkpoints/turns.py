"""How llama.cpp's converter changed values, undone: each turn is shapes to a shape, tensors to one.

`shape` raises ValueError where the shapes are not those that it undoes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

Shape = tuple[int, ...]


class Turn(Protocol):
    """From tensors of a GGUF file to one of the model's."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The shape of what `values` gives."""

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The model's tensor."""


@dataclass(frozen=True)
class Reshaped:
    """The same values in another shape; -1 stands for what is left, as in torch."""

    to: Shape

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """`to`, settled."""
        total, known = math.prod(shapes[0]), math.prod(n for n in self.to if n != -1)
        if -1 not in self.to:
            if total != known:
                raise ValueError
            return self.to
        if not known or total % known:
            raise ValueError
        return tuple(total // known if n == -1 else n for n in self.to)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensor, reshaped."""
        return tensors[0].reshape(self.to)


@dataclass(frozen=True)
class LogOfNegative:
    """A_log of A = -exp(A_log), in float32, in which the converter took the exponential."""

    to: Shape | None = None

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """That of A, or `to`."""
        return shapes[0] if self.to is None else Reshaped(self.to).shape(shapes)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """log(-A)."""
        found = torch.log(-tensors[0].float())
        return found if self.to is None else found.reshape(self.to)


@dataclass(frozen=True)
class Depthwise:
    """The kernel of a depthwise convolution, (..., C, K) to (C, 1, K)."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(C, 1, K)."""
        channels, width = (n for n in shapes[0] if n != 1) if len(shapes[0]) > 2 else shapes[0]
        return (channels, 1, width)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The kernel."""
        return tensors[0].reshape(self.shape([tuple(tensors[0].shape)]))


@dataclass(frozen=True)
class Shifted:
    """The weight of a norm that multiplies by 1 + weight, which GGUF has as one factor."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The same."""
        return shapes[0]

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The factor less 1."""
        return tensors[0] - 1


@dataclass(frozen=True)
class Scaled:
    """Values that were divided by `factor`."""

    factor: float

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The same."""
        return shapes[0]

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The product."""
        return tensors[0] * self.factor


@dataclass(frozen=True)
class RowsScaled:
    """Rows times a factor: so many of them times the first, so many times the next, and so on."""

    factors: tuple[tuple[int, float], ...]

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The same."""
        if shapes[0][0] != sum(count for count, _ in self.factors):
            raise ValueError
        return shapes[0]

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The products."""
        counts, factors = zip(*self.factors, strict=True)
        scale = torch.tensor(factors).repeat_interleave(torch.tensor(counts))
        return tensors[0] * scale.reshape(-1, *(1,) * (tensors[0].ndim - 1))


@dataclass(frozen=True)
class Transposed:
    """The last two axes changed places."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(..., n, m) of (..., m, n)."""
        *outer, rows, columns = shapes[0]
        return (*outer, columns, rows)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The transpose."""
        return tensors[0].transpose(-1, -2).contiguous()


@dataclass(frozen=True)
class RotaryHalves:
    """Rows of queries or keys of `heads` heads: pairs side by side, put into halves again.

    ggml's rotary embedding of Llama turns rows 2i and 2i + 1 of a head together, that of
    transformers i and i + half.
    """

    heads: int

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The same."""
        if not self.heads or shapes[0][0] % (2 * self.heads):
            raise ValueError
        return shapes[0]

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The rows in transformers' order."""
        (tensor,) = tensors
        half = tensor.shape[0] // self.heads // 2
        paired = tensor.reshape(self.heads, half, 2, *tensor.shape[1:])
        return paired.transpose(1, 2).reshape(tensor.shape)


@dataclass(frozen=True)
class Joined:
    """Several tensors one after the other along an axis, counted from the end."""

    axis: int

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """All axes alike but one, which is the sum."""
        first = list(shapes[0])
        if any(len(shape) != len(first) for shape in shapes):
            raise ValueError
        others = [tuple(n for i, n in enumerate(s) if i != len(s) + self.axis) for s in shapes]
        if any(other != others[0] for other in others):
            raise ValueError
        first[self.axis] = sum(shape[self.axis] for shape in shapes)
        return tuple(first)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensors, joined."""
        return torch.cat([tensor.float() for tensor in tensors], dim=self.axis)


@dataclass(frozen=True)
class Slice:
    """The slice `index` of `count` along the first axis, in the shape `to`."""

    index: int
    count: int
    to: Shape

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """`to`, settled."""
        total = math.prod(shapes[0])
        if not total or total % self.count:
            raise ValueError
        return Reshaped(self.to).shape([(total // self.count,)])

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The slice."""
        return tensors[0].reshape(self.count, -1)[self.index].reshape(self.to)


@dataclass(frozen=True)
class Then:
    """One turn of one tensor after the other."""

    turns: tuple[Turn, ...]

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The last one's."""
        for turn in self.turns:
            shapes = [turn.shape(shapes)]
        return shapes[0]

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The last one's."""
        for turn in self.turns:
            tensors = [turn.values(tensors)]
        return tensors[0]
