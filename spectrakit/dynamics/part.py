"""Some heads of a recurrence, which are a recurrence of their own.

B sequences, T tokens, H heads, G groups of heads, N state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.maps import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    OuterProduct,
    OuterProducts,
    ScaledInput,
    ScaledOutput,
)
from spectrakit.dynamics.operator_parts import heads_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.maps import InputMap, OutputMap
    from spectrakit.dynamics.recurrence import Recurrence
else:
    torch = lazy_import("torch")


def spread(total: int, count: int) -> list[int]:
    """`count` of `total` things, or all of them, evenly."""
    places = torch.linspace(0, total - 1, min(total, count), dtype=torch.float64)
    return sorted({int(place) for place in places.round().tolist()})


def some_heads(recurrence: Recurrence, heads: Sequence[int]) -> Recurrence:
    """Its heads of these numbers: their A, B, C and normaliser; nothing else is kept.

    Raises UnknownOperatorError where `heads_of` has no implementation for its operator.
    """
    total = recurrence.operator.heads
    here = list(heads)
    read, write = recurrence.output_map, recurrence.input_map
    normaliser, odds = recurrence.log_normaliser, recurrence.log_odds
    original = recurrence.original
    return replace(
        recurrence,
        operator=heads_of(recurrence.operator, here, by_token=recurrence.mode == "data"),
        input_map=None if write is None else input_of_heads(write, here, total),
        output_map=None if read is None else output_of_heads(read, here, total),
        log_normaliser=None if normaliser is None else normaliser[..., here],
        log_odds=None if odds is None else odds[..., here],
        original=None if original is None else some_heads(original, heads),
        step=None,
        generator=None,
        feedthrough=None,
    )


@singledispatch
def input_of_heads(write: InputMap, heads: Sequence[int], total: int) -> InputMap:
    """B_t of these of `total` heads; by default from B_t multiplied out, by `matrix`."""
    matrix = write.matrix(total)
    several = matrix.dim() == 5  # inputs of a token: (B, T, H, n, N)
    if matrix.shape[:2] == (1, 1):  # the same for every token
        weight = matrix[0, 0, heads]
        return ConstantInput(weight.mT if several else weight.unsqueeze(-1))
    return OuterProducts(matrix[:, :, heads]) if several else OuterProduct(matrix[:, :, heads])


@input_of_heads.register(OuterProduct)
def _(write: OuterProduct, heads: Sequence[int], total: int) -> OuterProduct:
    gain = None if write.gain is None else write.gain[..., heads]
    return OuterProduct(_grouped(write.key, heads, total), gain)


@input_of_heads.register(OuterProducts)
def _(write: OuterProducts, heads: Sequence[int], total: int) -> OuterProducts:  # noqa: ARG001
    return OuterProducts(write.key[:, :, heads])


@input_of_heads.register(ConstantInput)
def _(write: ConstantInput, heads: Sequence[int], total: int) -> ConstantInput:
    return ConstantInput(write.weight.expand(total, -1, -1)[heads])


@input_of_heads.register(ScaledInput)
def _(write: ScaledInput, heads: Sequence[int], total: int) -> ScaledInput:
    return ScaledInput(input_of_heads(write.inner, heads, total), write.log_scale[..., heads])


@singledispatch
def output_of_heads(read: OutputMap, heads: Sequence[int], total: int) -> OutputMap:
    """C_t of these of `total` heads; by default from C_t multiplied out, by `matrix`."""
    matrix = read.matrix(total)
    if matrix.shape[:2] == (1, 1):  # the same for every token
        return ConstantOutput(matrix[0, 0, heads].unsqueeze(-2))
    return Contraction(matrix[:, :, heads])


@output_of_heads.register(Contraction)
def _(read: Contraction, heads: Sequence[int], total: int) -> Contraction:
    return Contraction(_grouped(read.query, heads, total))


@output_of_heads.register(ConstantOutput)
def _(read: ConstantOutput, heads: Sequence[int], total: int) -> ConstantOutput:
    return ConstantOutput(read.weight.expand(total, -1, -1)[heads])


@output_of_heads.register(ScaledOutput)
def _(read: ScaledOutput, heads: Sequence[int], total: int) -> ScaledOutput:
    return ScaledOutput(output_of_heads(read.inner, heads, total), read.log_scale[..., heads])


def _grouped(vectors: Tensor, heads: Sequence[int], total: int) -> Tensor:
    """The vectors (B, T, G, N) of these heads, which share one in groups."""
    groups = vectors.shape[2]
    return vectors if groups == 1 else vectors[:, :, [c * groups // total for c in heads]]
