"""A random sample of a text's tokens that is the same however the text is cut into batches.

Every token has a priority: a hash of its sequence and of its place in it. The sample is the tokens
of lowest priority ("bottom-k"), so neither the size of batches nor their order changes it. A sample
as large as the text is the text, in the order of priorities.

B sequences, T tokens, E width, S feature sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

_WORDS = {8: "int64", 4: "int32", 2: "int16"}

# Multipliers of splitmix64 (Steele et al. 2014), and its increment, as signed numbers.
_MIX = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
_STEP = -0x61C8864680B583EB


def token_priorities(states: Tensor, valid: Tensor, seed: int) -> Tensor:
    """Priorities (B, T) of int64, uniform, from embedded tokens (B, T, E): another seed, others.

    The embeddings at depth 0 say which token stands where, in exactly the same numbers whatever
    batch it is in; what is not valid has no part in it.
    """
    tokens, width = states.shape[1:]
    words = states.contiguous().view(getattr(torch, _WORDS[states.element_size()])).long()
    drawn = torch.Generator().manual_seed(seed)
    weights = torch.randint(-(2**62), 2**62, (width,), generator=drawn) * 2 + 1
    place = torch.arange(1, tokens + 1, device=states.device) * _STEP
    each = _mixed((words * weights.to(states.device)).sum(-1) + place)
    sequence = each.masked_fill(~valid, 0).sum(1, keepdim=True)
    return _mixed(each ^ _mixed(sequence))


def _mixed(words: Tensor) -> Tensor:
    """The finaliser of splitmix64, on int64 that wraps around."""
    words = (words ^ _shifted(words, 30)) * _MIX[0]
    words = (words ^ _shifted(words, 27)) * _MIX[1]
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """A right shift that brings in zeros."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


class TokenSample:
    """The features of at most `capacity` tokens, those of lowest priority."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        #: Tokens that were offered.
        self.offered = 0
        self._priorities: Tensor | None = None
        self._kept: list[Tensor] = []

    def __len__(self) -> int:
        return min(self.offered, self.capacity)

    @property
    def priorities(self) -> Tensor:
        """Of the kept tokens, in the order of `features`: (n,)."""
        held = len(self)
        if self._priorities is None:
            return torch.zeros(0, dtype=torch.int64)
        found: Tensor = self._priorities[:held].sort(stable=True).values
        return found

    @property
    def whole(self) -> bool:
        """Whether every token is in it."""
        return self.offered <= self.capacity

    def add(self, features: Sequence[Tensor], priorities: Tensor) -> None:
        """Offer tokens: S tensors (n, E), and their priorities (n,)."""
        if self._priorities is None:
            # Memory of the CPU is taken when it is written to, so a short text takes little.
            self._priorities = priorities.new_empty(self.capacity)
            self._kept = [own.new_empty(self.capacity, own.shape[1]) for own in features]
        held = len(self)
        self.offered += len(priorities)
        lowest = torch.cat([self._priorities[:held], priorities]).argsort(stable=True)
        lowest = lowest[: self.capacity]
        entering = lowest[lowest >= held] - held
        places = self._places(held, lowest, len(entering))
        self._priorities[places] = priorities[entering]
        for kept, own in zip(self._kept, features, strict=True):
            kept[places] = own[entering]

    def _places(self, held: int, lowest: Tensor, entering: int) -> Tensor:
        """Rows for those who enter: of those who leave, and then rows that are free."""
        stays = torch.zeros(held, dtype=torch.bool, device=lowest.device)
        stays[lowest[lowest < held]] = True
        leaving = torch.nonzero(~stays).flatten()
        free = torch.arange(held, held + entering - len(leaving), device=lowest.device)
        return torch.cat([leaving, free])

    def features(self, at_most: int | None = None) -> list[Tensor]:
        """The features of the tokens of lowest priority: S tensors (n, E), in their order.

        All of them, which are put into that order in place, or a copy of `at_most` of them.
        """
        held = len(self)
        if self._priorities is None:
            return []
        order = self._priorities[:held].argsort(stable=True)
        if at_most is not None and at_most < held:
            return [kept[order[:at_most]] for kept in self._kept]
        self._priorities[:held] = self._priorities[order]
        for kept in self._kept:
            kept[:held] = kept[order]
        return [kept[:held] for kept in self._kept]
