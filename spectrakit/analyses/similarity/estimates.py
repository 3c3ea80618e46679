"""What the chosen estimators of `similarity` make of the tokens that were kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.analyses.similarity.estimators import BY_NAME, Estimating, Estimator
from spectrakit.representations.hsic import TooFewTokens

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.analyses.similarity.options import SimilarityOptions
    from spectrakit.analyses.similarity.tokens import SimilarityTokens, View
    from spectrakit.representations.cka import Alignment


@dataclass(frozen=True)
class Estimate:
    """One estimator's values on one view of the tokens; None where there were too few of them."""

    estimator: Estimator
    view: View
    alignment: Alignment | None

    @property
    def declared(self) -> Estimating:
        """What belongs to the estimator."""
        return BY_NAME[self.estimator]


def estimates(
    options: SimilarityOptions, seed: int, tokens: SimilarityTokens, kept: Sequence[Tensor]
) -> Iterator[Estimate]:
    """Those that were asked for, one after another, on every view of the tokens.

    kept: of every feature set, the coordinates (E,) that are not massive.
    """
    for estimator in dict.fromkeys(options.estimators):
        found: dict[tuple[bool, bool], Alignment | None] = {}
        for view in tokens.views(kept):
            if view.key not in found:
                found[view.key] = _or_too_few(estimator, view, options, seed)
            yield Estimate(estimator, view, found[view.key])


def _or_too_few(
    estimator: Estimator, view: View, options: SimilarityOptions, seed: int
) -> Alignment | None:
    if len(view) == 0:
        return None
    try:
        own = BY_NAME[estimator]
        told = {name: getattr(options, name) for name in {*own.decided_by, *own.written}}
        return own.of(view, seed, **told)
    except TooFewTokens:
        return None
