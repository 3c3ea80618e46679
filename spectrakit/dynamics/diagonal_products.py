"""Products of diagonal transitions, A_t A_{t-1} ... A_s, kept as logarithms: they may underflow."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.operators import (
    DiagonalDecay,
    ScalarDecay,
    SeparableDecay,
    UnknownOperatorError,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Operators whose state is kept in the eigenbasis of A. What has a shorter way for these goes by
#: `apply` and `apply_left` for all others.
Diagonal: TypeAlias = ScalarDecay | DiagonalDecay | SeparableDecay


class Products(NamedTuple):
    """log_modulus: (B, S + 1, H, K), K = N states or 1 where they share it. angle: or None."""

    log_modulus: Tensor
    angle: Tensor | None

    def values(self) -> Tensor:
        """The products themselves: (B, S + 1, H, K), 0 where one underflows."""
        modulus = self.log_modulus.exp()
        return modulus if self.angle is None else torch.polar(modulus, self.angle)


@singledispatch
def products_to_last(operator: Diagonal, tokens: slice) -> Products:  # noqa: ARG001
    """A_t ... A_s from each of S tokens to the last of them, t; and then the empty product.

    The operator has leading axes (B, T). Sums, in float64, never differences of sums: a decay to
    nothing, of logarithm -inf, is one like any other.

    Raises UnknownOperatorError for an operator that is none of the diagonal ones.
    """
    unknown = "that its state is kept in the eigenbasis of A"
    raise UnknownOperatorError(operator, products_to_last, unknown)


@products_to_last.register(ScalarDecay)
def _(operator: ScalarDecay, tokens: slice) -> Products:
    return Products(_from_each(operator.log_decay[:, tokens]).unsqueeze(-1), None)


@products_to_last.register(DiagonalDecay)
def _(operator: DiagonalDecay, tokens: slice) -> Products:
    log_modulus = _from_each(operator.log_decay[:, tokens])
    angle = None if operator.phase is None else _from_each(operator.phase[:, tokens])
    return Products(log_modulus, angle)


@products_to_last.register(SeparableDecay)
def _(operator: SeparableDecay, tokens: slice) -> Products:
    steps = _from_each(operator.step[:, tokens]).unsqueeze(-1)
    return Products(-steps * operator.rate, None)


def _from_each(values: Tensor) -> Tensor:
    """Sum of (B, S, ...) from each token to the last: (B, S + 1, ...), the last of them zero."""
    values = values.double()
    sums = values.new_zeros(values.shape[0], values.shape[1] + 1, *values.shape[2:])
    sums[:, :-1] = values.flip(1).cumsum(1).flip(1)
    return sums
