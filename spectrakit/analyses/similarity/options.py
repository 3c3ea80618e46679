"""What the `similarity` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spectrakit.analyses.similarity.estimators import ESTIMATORS, Estimator
from spectrakit.errors import UsageError
from spectrakit.options import Options, option
from spectrakit.wording import named

DEFAULT: tuple[Estimator, ...] = ("cka", "mutual_knn")
"""One that looks at all tokens together and one at neighbourhoods; both cheap, both with a null."""


@dataclass(frozen=True)
class SimilarityOptions(Options):
    """estimators: what to compute. memory_mib: the most that is held beside the hidden states of
    one batch: what is kept of them, and the work on it. without_first: leave out each sequence's
    first token, whose state is so large in attention models that it may decide CKA alone.

    group_tokens: tokens in a group of `cka_minibatch`. sample_tokens: random tokens that `cka_rbf`
    and `mutual_knn` are taken of. bandwidth: of `cka_rbf`, over the median distance of two tokens.
    neighbours: k of `mutual_knn`. permutations: drawn for the null of `procrustes`, or none; each
    costs as much as the distance, a singular value decomposition for every depth.
    """

    group: ClassVar[str] = "similarity"

    estimators: tuple[Estimator, ...] = option(
        DEFAULT,
        f"Estimators of similarity: {', '.join(ESTIMATORS)}.",
        flag="estimators",
    )
    memory_mib: float = option(
        1024.0,
        "MiB that similarity may hold beside the states of one batch.",
        flag="similarity_memory",
        above=0,
    )
    without_first: bool = option(
        False, "Similarity leaves each sequence's first token out.", flag="without_first"
    )
    group_tokens: int = option(256, "Tokens in a group of cka_minibatch.", at_least=4)
    sample_tokens: int = option(
        512, "Random tokens that cka_rbf and mutual_knn are taken of.", at_least=4
    )
    bandwidth: float = option(
        1.0, "Width of cka_rbf's kernel, over the median distance of two tokens.", above=0
    )
    neighbours: int = option(10, "Nearest neighbours that mutual_knn compares.", at_least=1)
    permutations: int = option(
        8, "Permutations for the null of procrustes; 0 for none.", at_least=0
    )

    def __post_init__(self) -> None:
        """Raises UsageError for what means nothing."""
        super().__post_init__()
        if self.permutations == 1:
            name = named("similarity_permutations")
            raise UsageError(f"a null needs two permutations at least, or none: {name} is 1")

    @property
    def memory_bytes(self) -> int:
        """The same in bytes."""
        return int(self.memory_mib * (1 << 20))
