"""An operator made of another: some of its heads, one of its sequences, or in double precision.

The protocol does not say which axis of which tensor counts heads, so some of them can be picked
only of operators that are known; that is `heads_of`. The tokens of a sequence have `at`.

B sequences, T tokens, S of them, H heads, N state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Protocol, cast

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.delta import DeltaRule
from spectrakit.dynamics.delta_product import DeltaProduct
from spectrakit.dynamics.diagonal_plus_low_rank import DiagonalPlusLowRank
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.dynamics.operators import (
    Dense,
    DiagonalDecay,
    ScalarDecay,
    SeparableDecay,
    UnknownOperatorError,
)
from spectrakit.dynamics.rotated_decay import RotatedDecay
from spectrakit.dynamics.shift import ShiftRegister

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")


class OneSequence(Protocol):
    """The transitions of one sequence, in double precision, token by token."""

    def at(self, t: int) -> TransitionOperator:
        """That of its token `t`, with a leading axis of one."""


# ---- some of its heads ------------------------------------------------------------------------


@singledispatch
def heads_of(
    operator: TransitionOperator,
    heads: Sequence[int],  # noqa: ARG001  (of those that are registered)
    *,
    by_token: bool,  # noqa: ARG001
) -> TransitionOperator:
    """The operator of these heads, in this order, and of no other.

    by_token: whether it has leading axes (B, T).

    Raises UnknownOperatorError where none is registered for the operator.
    """
    raise UnknownOperatorError(operator, heads_of, "which axes of its tensors count heads")


def heads_of_each_tensor(
    operator: TransitionOperator, heads: Sequence[int], *, by_token: bool
) -> TransitionOperator:
    """`heads_of` an operator whose every tensor is (B, T, H, ...), or (H, ...) without tokens."""
    here = list(heads)
    return with_tensors(operator, lambda v: v[:, :, here] if by_token else v[here])


@heads_of.register(SeparableDecay)
def _(operator: SeparableDecay, heads: Sequence[int], *, by_token: bool) -> SeparableDecay:  # noqa: ARG001
    here = list(heads)
    return SeparableDecay(operator.step[..., here], operator.rate[here])


@heads_of.register(DiagonalPlusLowRank)
def _(
    operator: DiagonalPlusLowRank,
    heads: Sequence[int],
    *,
    by_token: bool,  # noqa: ARG001
) -> DiagonalPlusLowRank:
    here = list(heads)
    return DiagonalPlusLowRank(
        operator.poles[here], operator.low_rank[:, here], operator.step[here]
    )


@heads_of.register(ShiftRegister)
def _(operator: ShiftRegister, heads: Sequence[int], *, by_token: bool) -> ShiftRegister:  # noqa: ARG001
    return ShiftRegister(len(heads), operator.state_size)


# ---- one of its sequences ---------------------------------------------------------------------


@singledispatch
def sequence_of(
    operator: TransitionOperator, sequence: int, tokens: slice, *, by_token: bool
) -> OneSequence:
    """Its transitions at these tokens of one sequence, with leading axes (1, S), in double.

    tokens: without a step. by_token: whether the operator has leading axes (B, T); one without is
    the same at every token. By default matrices, made as they are asked for.
    """
    return _Matrices(operator, sequence, tokens.start or 0, by_token)


def sequence_of_each_tensor(
    operator: TransitionOperator, sequence: int, tokens: slice, *, by_token: bool
) -> TransitionOperator:
    """`sequence_of` an operator all of whose tensors are (B, T, ...), or have neither axis."""
    return with_tensors(operator, lambda v: _of_sequence(v, sequence, tokens, by_token))


def _of_sequence(values: Tensor, sequence: int, tokens: slice, by_token: bool) -> Tensor:
    """(1, S, ...) of values (B, T, ...), or of (...) where they are the same at every token."""
    if by_token:
        return _wide(values[sequence : sequence + 1, tokens])
    return _wide(values).expand(1, tokens.stop - tokens.start, *values.shape)


@sequence_of.register(SeparableDecay)
def _(operator: SeparableDecay, sequence: int, tokens: slice, *, by_token: bool) -> SeparableDecay:
    step = _of_sequence(operator.step, sequence, tokens, by_token)
    return SeparableDecay(step, _wide(operator.rate))


@sequence_of.register(ShiftRegister)
def _(operator: ShiftRegister, sequence: int, tokens: slice, *, by_token: bool) -> ShiftRegister:  # noqa: ARG001
    return operator


@dataclass(frozen=True)
class _Matrices:
    """See `sequence_of`. first: the token of the operator that is token 0 here."""

    operator: TransitionOperator
    sequence: int
    first: int
    by_token: bool

    def at(self, t: int) -> Dense:
        if not self.by_token:
            return Dense(in_double(self.operator).dense().unsqueeze(0))
        one = in_double(self.operator.at(self.first + t))
        return Dense(one.dense()[self.sequence : self.sequence + 1])


for _structure in (
    ScalarDecay,
    DiagonalDecay,
    Dense,
    RotatedDecay,
    DeltaRule,
    DeltaProduct,
    DiagonalPlusRankOne,
):
    heads_of.register(_structure, heads_of_each_tensor)
    sequence_of.register(_structure, sequence_of_each_tensor)


# ---- in double precision ----------------------------------------------------------------------


@singledispatch
def in_double(operator: TransitionOperator) -> TransitionOperator:
    """The operator that is computed from the same numbers in float64 or complex128.

    By default of a dataclass of tensors, numbers and strings, whose tensors are widened.

    Raises UnknownOperatorError where it is none, and none is registered for it.
    """
    if not _is_known_by_its_fields(operator):
        raise UnknownOperatorError(operator, in_double, "where it keeps its tensors")
    return with_tensors(operator, _wide)


def with_tensors(
    operator: TransitionOperator, change: Callable[[Tensor], Tensor]
) -> TransitionOperator:
    """The operator, a dataclass, whose every tensor is changed alike."""
    parts: dict[str, Tensor] = {}
    for field in fields(cast("Any", operator)):
        value = getattr(operator, field.name)
        if isinstance(value, torch.Tensor):
            parts[field.name] = change(value)
    return cast("TransitionOperator", replace(cast("Any", operator), **parts))


def _is_known_by_its_fields(operator: object) -> bool:
    """Whether no tensor can be hidden from `with_tensors`, in a container or beside the fields."""
    return is_dataclass(operator) and all(
        field.init
        and isinstance(getattr(operator, field.name), torch.Tensor | int | float | str | None)
        for field in fields(operator)
    )


def _wide(values: Tensor) -> Tensor:
    """In float64 or complex128; what counts something stays as it is."""
    if not (values.is_floating_point() or values.is_complex()):
        return values
    return values.to(torch.promote_types(values.dtype, torch.float64))
