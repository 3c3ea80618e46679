"""What `similarity` keeps of the tokens it is shown: ordinary ones, and massive ones beside them.

Values are of three views of the same tokens, the usual one first: without massive tokens and
massive coordinates, without massive tokens, and of everything. Coordinates are known to be massive
only at the end, so they are left out of the features that were kept: of all tokens while these are
few, else of a random sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.representations.linear_hsic import LinearHSIC
from spectrakit.representations.minibatch import MinibatchCKA
from spectrakit.representations.tiles import pair_sums

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.analyses.similarity.options import SimilarityOptions
    from spectrakit.representations.cka import Alignment
    from spectrakit.representations.hsic import PairSums


class SimilarityTokens:
    """Tokens of S feature sets; bounded by what the options allow."""

    def __init__(self, options: SimilarityOptions) -> None:
        self._options = options
        self._linear = LinearHSIC(options.memory_bytes, options.sample_tokens)
        self._ordinary = MinibatchCKA(options.group_tokens)
        self._every = MinibatchCKA(options.group_tokens)

    def add(self, features: Sequence[Tensor], priorities: Tensor, massive: Tensor) -> None:
        """Take in tokens in a random order: S tensors (n, E), priorities and massive (n,).

        Raises MemoryError where too few of them fit into the memory.
        """
        ordinary = [own[~massive] for own in features] if bool(massive.any()) else features
        if "cka_minibatch" in self._options.estimators:
            part = MinibatchCKA(self._options.group_tokens)
            part.add(ordinary)
            self._ordinary.merge(part)
            if ordinary is not features:
                part = MinibatchCKA(self._options.group_tokens)
                part.add(features)
            self._every.merge(part)
        self._linear.add(ordinary, priorities[~massive])
        if ordinary is not features:
            self._linear.massive.add([own[massive] for own in features], priorities[massive])

    @property
    def seen(self) -> int:
        """The tokens that were taken in."""
        return self._linear.sample.offered + self._linear.massive.offered

    @property
    def edge(self) -> int:
        """Of a tile, see `LinearHSIC`."""
        return self._linear.edge

    def views(self, kept: Sequence[Tensor]) -> Iterator[View]:
        """The three of them; kept: of every set, which coordinates are not massive, (E,)."""
        every = "without_first" if self._options.without_first else "all"
        usual = None if all(bool(own.all()) for own in kept) else kept
        massive = self._linear.massive.offered > 0
        yield View(self, "without_massive", "without_massive", massive=False, kept=usual)
        yield View(self, "without_massive", "all", massive=False, kept=None)
        yield View(self, every, "all", massive=massive, kept=None)


@dataclass(frozen=True)
class View:
    """Some of the tokens, in some of their coordinates.

    massive: whether massive tokens are among them. kept: the coordinates of every set; None for
    all. Views that are alike in both have the same values.
    """

    tokens: SimilarityTokens
    token_set: str
    coordinates: str
    massive: bool
    kept: Sequence[Tensor] | None

    @property
    def key(self) -> tuple[bool, bool]:
        """The same for views of the same tokens and coordinates."""
        return self.massive, self.kept is None

    @property
    def edge(self) -> int:
        """Of a tile, see `LinearHSIC`."""
        return self.tokens.edge

    def __len__(self) -> int:
        """How many tokens there are, or were kept."""
        linear = self.tokens._linear
        return len(linear.sample) + (len(linear.massive) if self.massive else 0)

    def features(self, at_most: int | None = None) -> list[Tensor]:
        """Of the tokens of lowest priority: S tensors (n, E), in their order."""
        found = self.tokens._linear.features(at_most, with_massive=self.massive)
        if self.kept is None:
            return found
        return [own[:, keep.to(own.device)] for own, keep in zip(found, self.kept, strict=True)]

    def pair_sums(self) -> PairSums:
        """What HSIC_1 of linear kernels is made of."""
        if self.kept is None:
            return self.tokens._linear.pair_sums(with_massive=self.massive)
        return pair_sums(self.features(), edge=self.edge)

    def by_groups(self) -> Alignment:
        """CKA from groups of tokens."""
        if self.kept is None:
            return (self.tokens._every if self.massive else self.tokens._ordinary).cka()
        grouped = MinibatchCKA(self.tokens._options.group_tokens)
        grouped.add(self.features())
        return grouped.cka()
