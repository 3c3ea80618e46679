"""What the `similarity` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from spectrakit.errors import UsageError

Estimator = Literal["cka", "cka_minibatch", "cka_rbf", "mutual_knn", "procrustes"]

ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

DEFAULT: tuple[Estimator, ...] = ("cka", "mutual_knn")
"""One that looks at all tokens together and one at neighbourhoods; both cheap, both with a null."""


@dataclass(frozen=True)
class SimilarityOptions:
    """estimators: what to compute. memory_bytes: the most that is held beside the hidden states of
    one batch: what is kept of them, and the work on it. without_first: leave out each sequence's
    first token, whose state is so large in attention models that it may decide CKA alone.

    group_tokens: tokens in a group of `cka_minibatch`. sample_tokens: random tokens that `cka_rbf`
    and `mutual_knn` are taken of. bandwidth: of `cka_rbf`, over the median distance of two tokens.
    neighbours: k of `mutual_knn`. permutations: drawn for the null of `procrustes`, or none; each
    costs as much as the distance, a singular value decomposition for every depth.
    """

    estimators: tuple[Estimator, ...] = DEFAULT
    memory_bytes: int = 1 << 30
    without_first: bool = False
    group_tokens: int = 256
    sample_tokens: int = 512
    bandwidth: float = 1.0
    neighbours: int = 10
    permutations: int = 8

    def __post_init__(self) -> None:
        """Raises UsageError for what means nothing."""
        unknown = [name for name in self.estimators if name not in ESTIMATORS]
        if unknown or not self.estimators:
            message = f"{unknown[0]!r} is no estimator" if unknown else "there are no estimators"
            raise UsageError(message, hint=", ".join(ESTIMATORS))
        for name, least in (
            ("memory_bytes", 1),
            ("group_tokens", 4),
            ("sample_tokens", 4),
            ("neighbours", 1),
        ):
            if getattr(self, name) < least:
                message = f"{name.replace('_', ' ')} of similarity: {least} at least"
                raise UsageError(message)
        if self.permutations < 0 or self.permutations == 1:
            raise UsageError("a null needs two permutations at least, or none at all")
        if not self.bandwidth > 0:
            raise UsageError("the bandwidth must be above 0", hint="1.0, or 0.2 to 0.8")
