"""Part of a recurrence, which is a recurrence of its own: some heads, or some tokens.

B sequences, T tokens, H heads, G groups of heads, N state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, cast

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.diagonal_plus_low_rank import DiagonalPlusLowRank
from spectrakit.dynamics.maps import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    OuterProduct,
    OuterProducts,
    ScaledInput,
    ScaledOutput,
)
from spectrakit.dynamics.operators import SeparableDecay
from spectrakit.dynamics.shift import ShiftRegister

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.maps import InputMap, OutputMap
    from spectrakit.dynamics.operators import TransitionOperator
    from spectrakit.dynamics.recurrence import Recurrence
else:
    torch = lazy_import("torch")


def spread(total: int, count: int) -> list[int]:
    """`count` of `total` things, or all of them, evenly."""
    places = torch.linspace(0, total - 1, min(total, count), dtype=torch.float64)
    return sorted({int(place) for place in places.round().tolist()})


def some_heads(recurrence: Recurrence, heads: Sequence[int]) -> Recurrence:
    """Its heads of these numbers: their A, B, C and normaliser; nothing else is kept."""
    total = recurrence.operator.heads
    here = list(heads)
    read, write = recurrence.output_map, recurrence.input_map
    normaliser, odds = recurrence.log_normaliser, recurrence.log_odds
    original = recurrence.original
    return replace(
        recurrence,
        operator=_operator(recurrence.operator, here, by_token=recurrence.mode == "data"),
        input_map=None if write is None else _input(write, here, total),
        output_map=None if read is None else _output(read, here, total),
        log_normaliser=None if normaliser is None else normaliser[..., here],
        log_odds=None if odds is None else odds[..., here],
        original=None if original is None else some_heads(original, heads),
        step=None,
        generator=None,
        feedthrough=None,
    )


def with_tensors(
    operator: TransitionOperator, change: Callable[[Tensor], Tensor]
) -> TransitionOperator:
    """The operator whose every tensor is changed alike."""
    parts: dict[str, Tensor] = {}
    for field in fields(cast("Any", operator)):
        value = getattr(operator, field.name)
        if isinstance(value, torch.Tensor):
            parts[field.name] = change(value)
    return cast("TransitionOperator", replace(cast("Any", operator), **parts))


def _operator(
    operator: TransitionOperator, heads: list[int], *, by_token: bool
) -> TransitionOperator:
    if isinstance(operator, SeparableDecay):
        return SeparableDecay(operator.step[..., heads], operator.rate[heads])
    if isinstance(operator, DiagonalPlusLowRank):
        return DiagonalPlusLowRank(
            operator.poles[heads], operator.low_rank[:, heads], operator.step[heads]
        )
    if isinstance(operator, ShiftRegister):
        return ShiftRegister(len(heads), operator.state_size)
    return with_tensors(operator, lambda v: v[:, :, heads] if by_token else v[heads])


def _input(write: InputMap, heads: list[int], total: int) -> InputMap:
    if isinstance(write, OuterProduct):
        gain = None if write.gain is None else write.gain[..., heads]
        return OuterProduct(_grouped(write.key, heads, total), gain)
    if isinstance(write, OuterProducts):
        return OuterProducts(write.key[:, :, heads])
    if isinstance(write, ConstantInput):
        return ConstantInput(write.weight.expand(total, -1, -1)[heads])
    if isinstance(write, ScaledInput):
        return ScaledInput(_input(write.inner, heads, total), write.log_scale[..., heads])
    return OuterProduct(write.matrix(total)[:, :, heads])


def _output(read: OutputMap, heads: list[int], total: int) -> OutputMap:
    if isinstance(read, Contraction):
        return Contraction(_grouped(read.query, heads, total))
    if isinstance(read, ConstantOutput):
        return ConstantOutput(read.weight.expand(total, -1, -1)[heads])
    if isinstance(read, ScaledOutput):
        return ScaledOutput(_output(read.inner, heads, total), read.log_scale[..., heads])
    return Contraction(read.matrix(total)[:, :, heads])


def _grouped(vectors: Tensor, heads: Sequence[int], total: int) -> Tensor:
    """The vectors (B, T, G, N) of these heads, which share one in groups."""
    groups = vectors.shape[2]
    return vectors if groups == 1 else vectors[:, :, [c * groups // total for c in heads]]
