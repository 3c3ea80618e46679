"""The transitions of a batch of sequences, as steps that a frame is carried through.

    forward   A_{end-1} ... A_{begin} X          adjoint   (A_{end-1} ... A_{begin})^* X

of the valid tokens alone, in float64, without the part of A_t that is a number: that commutes with
everything, and is added to the logarithms at the end.

B batch, T tokens, H heads, N state.
"""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, ClassVar, Protocol

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.delta import DeltaRule
from spectrakit.dynamics.delta_product import DeltaProduct
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.dynamics.erasure_steps import ErasureSteps
from spectrakit.dynamics.rank_one_steps import RankOneSteps
from spectrakit.dynamics.token_steps import TokenSteps

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")


class Steps(Protocol):
    """What carries a frame."""

    #: Steps taken at once, at most.
    longest_block: ClassVar[int]

    @property
    def tokens(self) -> int:
        """T."""

    @property
    def heads(self) -> int:
        """H."""

    @property
    def states(self) -> int:
        """N."""

    def log_factor(self) -> Tensor:
        """Sum over the valid tokens of the logarithm of what was divided out: (B, H)."""

    def moved(self, axes: Tensor, begin: int, end: int, *, adjoint: bool) -> tuple[Tensor, float]:
        """`axes` (B, H, N, N) carried through the steps, and how long they got on the way."""

    def cokernel(self, t: int) -> Tensor:
        """What the adjoint of step `t` sends to zero, as columns: (B, H, N, M), some of them zero.

        None of them is a combination of others.
        """


@singledispatch
def steps_of(operator: TransitionOperator, valid: Tensor) -> Steps:
    """The steps of an operator with leading axes (B, T), at its valid tokens (B, T).

    By default one token at a time, by its `apply` and `apply_left`.
    """
    return TokenSteps(operator, valid)


@steps_of.register(DiagonalPlusRankOne)
def _(operator: DiagonalPlusRankOne, valid: Tensor) -> RankOneSteps:
    return RankOneSteps.of(operator, valid)


@steps_of.register(DeltaRule)
def _(operator: DeltaRule, valid: Tensor) -> ErasureSteps:
    return ErasureSteps.of(operator, valid)


@steps_of.register(DeltaProduct)
def _(operator: DeltaProduct, valid: Tensor) -> ErasureSteps:
    # As many tokens of the delta rule, of which the first has the decay.
    factors = operator.factors
    decay = torch.nn.functional.pad(operator.log_decay.unsqueeze(2), (0, 0, 0, factors - 1))
    beta, key = operator.beta.transpose(2, 3), operator.key.transpose(2, 3)
    parts = (part.flatten(1, 2) for part in (decay, beta, key))
    return ErasureSteps.of(DeltaRule(*parts), valid.repeat_interleave(factors, dim=1))
