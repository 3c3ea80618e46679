"""What each estimator of `similarity` makes of the tokens that were kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.cka import Alignment, cka_of
from spectrakit.representations.hsic import TooFewTokens
from spectrakit.representations.kernels import RBF
from spectrakit.representations.neighbours import mutual_neighbours
from spectrakit.representations.procrustes import procrustes_distance, procrustes_null
from spectrakit.representations.tiles import is_constant, pair_sums

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.analyses.similarity.options import Estimator, SimilarityOptions
    from spectrakit.analyses.similarity.tokens import SimilarityTokens, View
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class Estimate:
    """One estimator's values on one view of the tokens; None where there were too few of them.

    adjacent: whether it is of neighbouring depths only.
    """

    estimator: Estimator
    view: View
    alignment: Alignment | None
    adjacent: bool = False


def estimates(
    options: SimilarityOptions, seed: int, tokens: SimilarityTokens, kept: Sequence[Tensor]
) -> Iterator[Estimate]:
    """Those that were asked for, one after another, on every view of the tokens.

    kept: of every feature set, the coordinates (E,) that are not massive.
    """

    def whole(view: View) -> Alignment:
        sums = view.pair_sums()
        return cka_of(sums.hsic(), sums.n)

    def rbf(view: View) -> Alignment:
        features = view.features(options.sample_tokens)
        kernel = RBF.of_medians(features, options.bandwidth)
        hsic = pair_sums(features, kernel, edge=tokens.edge).hsic()
        return cka_of(hsic, len(features[0]))

    def knn(view: View) -> Alignment:
        features = view.features(options.sample_tokens)
        return mutual_neighbours(features, options.neighbours, _constant(features))

    def procrustes(view: View) -> Alignment:
        return _adjacent_distances(view.features(), options.permutations, seed)

    ways: dict[Estimator, Callable[[View], Alignment]] = {
        "cka": whole,
        "cka_minibatch": lambda view: view.by_groups(),
        "cka_rbf": rbf,
        "mutual_knn": knn,
        "procrustes": procrustes,
    }
    for estimator in dict.fromkeys(options.estimators):
        adjacent = estimator == "procrustes"
        found: dict[tuple[bool, bool], Alignment | None] = {}
        for view in tokens.views(kept):
            if view.key not in found:
                found[view.key] = _or_too_few(ways[estimator], view)
            yield Estimate(estimator, view, found[view.key], adjacent)


def _or_too_few(estimate: Callable[[View], Alignment], view: View) -> Alignment | None:
    if len(view) == 0:
        return None
    try:
        return estimate(view)
    except TooFewTokens:
        return None


def _constant(features: Sequence[Tensor]) -> Tensor:
    return torch.stack([is_constant(own) for own in features])


def _adjacent_distances(features: Sequence[Tensor], permutations: int, seed: int) -> Alignment:
    """Procrustes distances of each feature set to the next, NaN elsewhere."""
    sets = len(features)
    value, mean, std = torch.full((3, sets, sets), torch.nan, dtype=torch.float64)
    constant = _constant(features)
    for index, (own, following) in enumerate(pairwise(features)):
        if bool(constant[index] | constant[index + 1]):
            continue
        pair = index, index + 1
        value[pair] = procrustes_distance(own, following)
        if permutations:
            null = procrustes_null(own, following, permutations, seed)
            mean[pair], std[pair] = null.mean(), null.std()
    return Alignment(value, mean, std, len(features[0]))
