"""One text for two models whose tokenizers differ: the tokens that end at the same character.

A text is cut into passages, each encoded by both tokenizers. Where a token of one ends at the
character where a token of the other does, both models have read exactly the same text of the
passage, so the states they have there may be compared. Other tokens are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy_import("numpy")

#: A text to token ids, and to the number of characters up to each token's end.
Encode: TypeAlias = Callable[[str], tuple[Sequence[int], Sequence[int]]]


@dataclass(frozen=True)
class AlignedPassage:
    """A piece of text as both models read it.

    ids: the token ids of each model, (T,) and (T',). shared: the places of tokens in each that end
    at the same character, (n,) and (n,).
    """

    ids: tuple[np.ndarray, np.ndarray]
    shared: tuple[np.ndarray, np.ndarray]

    def first(self, count: int) -> AlignedPassage:
        """The same with only the first `count` shared tokens."""
        return AlignedPassage(self.ids, (self.shared[0][:count], self.shared[1][:count]))

    def behind(self, place: int) -> AlignedPassage:
        """The same with only such shared tokens as have `place` others before them, in both."""
        kept = np.minimum(*self.shared) >= place
        return AlignedPassage(self.ids, (self.shared[0][kept], self.shared[1][kept]))


def aligned_passages(
    text: str, encoders: tuple[Encode, Encode], tokens: int
) -> Iterator[AlignedPassage]:
    """Passages of `text` that are at most `tokens` long for either model, one after another.

    Each begins where the one before ended, at a character where tokens of both end.
    """
    while text:
        # No token of either has less than a part of a character: so much text is always enough,
        # and a text of a few characters a token is not encoded much further than it is used.
        piece = text[: 16 * tokens]
        encoded = [encode(piece) for encode in encoders]
        ids = [np.array(list(found), np.int64)[:tokens] for found, _ in encoded]
        ends = [_last_ends(np.array(at, np.int64), tokens) for _, at in encoded]
        both, *places = np.intersect1d(
            ends[0][0], ends[1][0], assume_unique=True, return_indices=True
        )
        if not len(both):
            return
        shared = [of_ends[index] for (_, of_ends), index in zip(ends, places, strict=True)]
        # What lies behind the last shared token is the beginning of the next passage.
        kept = [own[: at[-1] + 1] for own, at in zip(ids, shared, strict=True)]
        yield AlignedPassage((kept[0], kept[1]), (shared[0], shared[1]))
        text = text[int(both[-1]) :]


def _last_ends(ends: np.ndarray, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Each end once, with the place of the last token that ends there, among the first `tokens`.

    A token that ends where an earlier one already did, or before, is no new place in the text; a
    character whose tokens are not all among the first has not been read.
    """
    reached = np.maximum.accumulate(ends)
    if len(ends) > tokens:
        reached = reached[:tokens][reached[:tokens] < reached[tokens]]
        ends = ends[: len(reached)]
    unique, from_behind = np.unique(reached[::-1], return_index=True)
    places = len(ends) - 1 - from_behind
    return unique[unique > 0], places[unique > 0]
