"""The estimators of `similarity`: each is declared once, here.

From its declaration follow the choice of `--estimators`, its words in the documentation of the
table, the parameters that its rows hold, when its numbers of two runs are compared, and where it is
drawn and shown. The formulas are in `spectrakit.representations`, imported when they are needed:
`SimilarityOptions` imports this page, and the command line that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.representations import cka, kernels, procrustes, tiles
    from spectrakit.representations import neighbours as nearest
    from spectrakit.representations.cka import Alignment
    from spectrakit.representations.hsic import PairSums
else:
    torch = lazy_import("torch")
    cka = lazy_import("spectrakit.representations.cka")
    kernels = lazy_import("spectrakit.representations.kernels")
    nearest = lazy_import("spectrakit.representations.neighbours")
    procrustes = lazy_import("spectrakit.representations.procrustes")
    tiles = lazy_import("spectrakit.representations.tiles")

Estimator: TypeAlias = Literal["cka", "cka_minibatch", "cka_rbf", "mutual_knn", "procrustes"]

ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)


class Kept(Protocol):
    """The tokens that an estimator takes: S feature sets of the same n of them."""

    @property
    def edge(self) -> int:
        """Tokens of a tile of kernels, as the memory allows."""

    def features(self, at_most: int | None = None) -> list[Tensor]:
        """Of every set (n, E): all that were kept, or a random sample of these."""

    def pair_sums(self) -> PairSums:
        """What HSIC_1 of linear kernels over all tokens is made of."""

    def by_groups(self) -> Alignment:
        """CKA from groups of tokens."""


@dataclass(frozen=True, kw_only=True)
class Estimating:
    """What belongs to an estimator.

    of: its values for all pairs of feature sets, from the tokens, the seed, and by keyword the
    options of both groups below. decided_by: the options that its value follows. written: those
    that its rows hold in columns of the same name. meaning: what it is, for the documentation of
    the table. title: above its picture; short: the same in a few words. square: of estimators with
    the same word here, one is drawn, the first of this page; None for one that is no heat map of
    all pairs. heading: of its columns in the terminal, and what that stands for; None for one that
    is not shown there. adjacent: whether it is of neighbouring depths only.
    """

    of: Callable[..., Alignment]
    meaning: str
    title: str
    short: str
    decided_by: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    square: str | None = None
    heading: tuple[str, str] | None = None
    adjacent: bool = False


def _cka(tokens: Kept, _seed: int) -> Alignment:
    sums = tokens.pair_sums()
    return cka.cka_of(sums.hsic(), sums.n)


def _cka_minibatch(tokens: Kept, _seed: int, *, group_tokens: int) -> Alignment:  # noqa: ARG001
    return tokens.by_groups()  # of groups that large, while they were taken in


def _cka_rbf(tokens: Kept, _seed: int, *, sample_tokens: int, bandwidth: float) -> Alignment:
    features = tokens.features(sample_tokens)
    kernel = kernels.RBF.of_medians(features, bandwidth)
    hsic = tiles.pair_sums(features, kernel, edge=tokens.edge).hsic()
    return cka.cka_of(hsic, len(features[0]))


def _mutual_knn(tokens: Kept, _seed: int, *, sample_tokens: int, neighbours: int) -> Alignment:
    features = tokens.features(sample_tokens)
    return nearest.mutual_neighbours(features, neighbours, _constant(features))


def _procrustes(tokens: Kept, seed: int, *, permutations: int) -> Alignment:
    """Distances of each feature set to the next, NaN elsewhere."""
    features = tokens.features()
    sets = len(features)
    value, mean, std = torch.full((3, sets, sets), torch.nan, dtype=torch.float64)
    constant = _constant(features)
    for index, (own, following) in enumerate(pairwise(features)):
        if bool(constant[index] | constant[index + 1]):
            continue
        pair = index, index + 1
        value[pair] = procrustes.procrustes_distance(own, following)
        if permutations:
            null = procrustes.procrustes_null(own, following, permutations, seed)
            mean[pair], std[pair] = null.mean(), null.std()
    return cka.Alignment(value, mean, std, len(features[0]))


def _constant(features: Sequence[Tensor]) -> Tensor:
    return torch.stack([tiles.is_constant(own) for own in features])


#: What belongs to each; of those that share a square, the first one is drawn.
BY_NAME: dict[Estimator, Estimating] = {
    "cka": Estimating(
        of=_cka,
        meaning="linear, unbiased, over all the tokens counted here",
        title="Linear CKA, unbiased",
        short="linear CKA",
        square="cka",
        heading=("CKA", "CKA"),
    ),
    "cka_minibatch": Estimating(
        of=_cka_minibatch,
        meaning="the same from groups of tokens: arXiv 2010.15327",
        title="Linear CKA, unbiased, of groups of tokens",
        short="linear CKA of groups",
        decided_by=("group_tokens",),
        written=("group_tokens",),
        square="cka",
    ),
    "cka_rbf": Estimating(
        of=_cka_rbf,
        meaning="unbiased, Gaussian kernel",
        title="CKA with a Gaussian kernel, unbiased",
        short="CKA, Gaussian",
        decided_by=("sample_tokens", "bandwidth"),
        written=("bandwidth",),
        square="cka",
    ),
    "mutual_knn": Estimating(
        of=_mutual_knn,
        meaning="share of common nearest neighbours by cosine, in [0, 1]",
        title="Common nearest neighbours",
        short="common nearest neighbours",
        decided_by=("sample_tokens", "neighbours"),
        written=("neighbours",),
        square="neighbours",
        heading=("kNN", "common nearest neighbours (kNN)"),
    ),
    "procrustes": Estimating(
        of=_procrustes,
        meaning="distance in [0, sqrt 2] of features scaled to norm 1, after the best rotation; "
        "neighbouring depths only",
        title="Orthogonal Procrustes distance to the next depth",
        short="Procrustes distance",
        written=("permutations",),
        adjacent=True,
    ),
}
