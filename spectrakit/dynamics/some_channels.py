"""Some channels of a layer whose channels do not interact: a recurrence of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.maps import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    OuterProduct,
    ScaledInput,
    ScaledOutput,
)
from spectrakit.dynamics.operators import DiagonalDecay, ScalarDecay, SeparableDecay

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.maps import InputMap, OutputMap
    from spectrakit.dynamics.operators import TransitionOperator
    from spectrakit.dynamics.recurrence import Recurrence
else:
    torch = lazy_import("torch")


def some_channels(recurrence: Recurrence, at_most: int) -> Recurrence:
    """`recurrence` with at most so many of its H channels, spread evenly over them.

    It is itself where it has no more, and where its A is none of a diagonal structure.
    """
    heads = recurrence.operator.heads
    diagonal = isinstance(recurrence.operator, ScalarDecay | DiagonalDecay | SeparableDecay)
    if heads <= at_most or not diagonal:
        return recurrence
    chosen = torch.linspace(0, heads - 1, at_most).round().long().tolist()
    read, write = recurrence.output_map, recurrence.input_map
    normaliser = recurrence.log_normaliser
    return replace(
        recurrence,
        operator=_operator(recurrence.operator, chosen),
        input_map=None if write is None else _input(write, chosen, heads),
        output_map=None if read is None else _output(read, chosen, heads),
        log_normaliser=None if normaliser is None else normaliser[..., chosen],
        step=None,
        generator=None,
        feedthrough=None,
    )


def _operator(operator: TransitionOperator, chosen: Sequence[int]) -> TransitionOperator:
    if isinstance(operator, SeparableDecay):
        return SeparableDecay(operator.step[..., chosen], operator.rate[chosen])
    if isinstance(operator, ScalarDecay):
        return ScalarDecay(operator.log_decay[..., chosen], operator.state_size)
    assert isinstance(operator, DiagonalDecay)  # noqa: S101  (the caller asked)
    phase = None if operator.phase is None else operator.phase[..., chosen, :]
    return DiagonalDecay(operator.log_decay[..., chosen, :], phase)


def _input(write: InputMap, chosen: Sequence[int], heads: int) -> InputMap:
    if isinstance(write, OuterProduct):
        gain = None if write.gain is None else write.gain[..., chosen]
        return OuterProduct(_grouped(write.key, chosen, heads), gain)
    if isinstance(write, ConstantInput):
        return ConstantInput(write.weight.expand(heads, -1, -1)[chosen])
    assert isinstance(write, ScaledInput)  # noqa: S101  (all that diagonal layers have)
    return ScaledInput(_input(write.inner, chosen, heads), write.log_scale[..., chosen])


def _output(read: OutputMap, chosen: Sequence[int], heads: int) -> OutputMap:
    if isinstance(read, Contraction):
        return Contraction(_grouped(read.query, chosen, heads))
    if isinstance(read, ConstantOutput):
        return ConstantOutput(read.weight.expand(heads, -1, -1)[chosen])
    assert isinstance(read, ScaledOutput)  # noqa: S101  (all that diagonal layers have)
    return ScaledOutput(_output(read.inner, chosen, heads), read.log_scale[..., chosen])


def _grouped(vectors: Tensor, chosen: Sequence[int], heads: int) -> Tensor:
    """The vectors (B, T, G, N) of these channels, which share one in groups."""
    groups = vectors.shape[2]
    return vectors if groups == 1 else vectors[:, :, [c * groups // heads for c in chosen]]
