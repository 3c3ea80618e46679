"""HSIC_1 with the linear kernel over all tokens of a text, the cheaper way, in bounded memory.

    tiles of Gram matrices:  n^2 sum_a E_a / 2         keeps the features of n tokens
    sums over features:      n sum_{a<=b} E_a E_b,     keeps a matrix for each pair of sets

multiplications in float64, for S sets of width E. Tokens are kept as they come; as soon as there
are more of them than make the sums cheaper, the sums take over and go on for ever. Where their
matrices do not fit, tokens are kept up to the limit, and beyond it a random sample of them (see
token_sample.py).

Massive tokens (see massive.py) are kept beside the others, so that there are values with and
without them, and none of the latter from a difference of the former.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.feature_sums import FeatureSums
from spectrakit.representations.tiles import edge_within, pair_sums
from spectrakit.representations.token_sample import TokenSample

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.representations.hsic import PairSums
else:
    torch = lazy_import("torch")

#: One part in so many of the memory is for working with what is kept.
_WORKING = 4
#: Massive tokens are kept up to so many, then a random sample of them.
_MASSIVE = 256
#: Fewer tokens than these say nothing.
_FEWEST = 64


@dataclass(frozen=True)
class Keeping:
    """What is kept of a text: the features of so many tokens, and then perhaps sums."""

    tokens: int
    sums: bool

    @classmethod
    def within(cls, memory_bytes: int, features: Sequence[Tensor], at_least: int = 0) -> Keeping:
        """What costs least within that memory, for tokens like these: S tensors (n, E).

        at_least: how many tokens to keep even where sums are cheaper for fewer of them.

        Raises MemoryError where so few fit that they say nothing.
        """
        widths = [own.shape[1] for own in features]
        row = sum(own.shape[1] * own.element_size() for own in features)
        free = memory_bytes - memory_bytes // _WORKING
        fitting = free // row
        if fitting < _FEWEST:
            needed = _FEWEST * row * _WORKING // (_WORKING - 1)
            message = (
                f"{_FEWEST} tokens of {row:,} bytes need {needed:,} bytes, not {memory_bytes:,}"
            )
            raise MemoryError(message)
        summed = FeatureSums.bytes_for(widths)
        cheaper_beyond = 2 * summed // 8 // sum(widths)
        beside = (free - summed) // row
        if beside >= max(1, at_least):
            return cls(min(max(cheaper_beyond, at_least), beside), sums=True)
        return cls(fitting, sums=False)


class LinearHSIC:
    """Adds up what HSIC_1 of all pairs of S feature sets needs, in `memory_bytes`."""

    def __init__(self, memory_bytes: int, at_least: int = 0) -> None:
        self._memory_bytes = memory_bytes
        self._at_least = at_least
        self._keeping: Keeping | None = None
        self._widths: list[int] = []
        self._sums: FeatureSums | None = None
        #: The tokens that are kept: all, or a random sample of them.
        self.sample = TokenSample(0)
        #: Massive tokens, which the caller adds here.
        self.massive = TokenSample(_MASSIVE)

    def add(self, features: Sequence[Tensor], priorities: Tensor) -> None:
        """Take in tokens: S tensors (n, E), and their priorities (n,).

        Raises MemoryError where too few of them fit into the memory.
        """
        if self._keeping is None:
            self._keeping = Keeping.within(self._memory_bytes, features, self._at_least)
            self.sample = TokenSample(self._keeping.tokens)
            self._widths = [own.shape[1] for own in features]
        if self._overflows(len(priorities)):
            self._summed().add(features)
        self.sample.add(features, priorities)

    def _overflows(self, more: int) -> bool:
        """Whether sums are to be taken once so many `more` tokens have come."""
        assert self._keeping is not None  # noqa: S101  (a first batch was added)
        return self._keeping.sums and self.sample.offered + more > self.sample.capacity

    def _summed(self) -> FeatureSums:
        """The sums of all tokens so far; where there are none yet, all those tokens are kept."""
        if self._sums is None:
            self._sums = FeatureSums()
            if self.sample.offered:
                self._sums.add(self.sample.features())
        return self._sums

    def features(self, at_most: int | None = None, *, with_massive: bool = False) -> list[Tensor]:
        """The features of the kept tokens of lowest priority: S tensors (n, E), in their order."""
        if not with_massive or not len(self.massive):
            return self.sample.features(at_most)
        ordinary, massive = self.sample.features(), self.massive.features()
        if not len(self.sample):
            return [own[:at_most] for own in massive]
        order = torch.cat([self.sample.priorities, self.massive.priorities]).argsort(stable=True)
        if not (self.sample.whole and self.massive.whole):
            order = order[: len(self.sample)]  # of those below, none was left out
        order = order[:at_most]
        pairs = zip(ordinary, massive, strict=True)
        return [torch.cat([own, more])[order] for own, more in pairs]

    def pair_sums(self, *, with_massive: bool = False) -> PairSums:
        """What HSIC_1 is made of, over all tokens or, where they did not fit, over the sample."""
        if self._sums is None:
            return pair_sums(self.features(with_massive=with_massive), edge=self.edge)
        return self._sums.pair_sums(self.massive.features() if with_massive else None)

    @property
    def edge(self) -> int:
        """Tokens along a tile of Gram matrices of all sets that is within the memory."""
        return edge_within(self._widths, self._memory_bytes // _WORKING)
