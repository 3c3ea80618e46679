"""CKA from small groups of tokens: the ratio of averaged HSIC_1 (Nguyen et al. 2021, eq. 2 and 3).

    CKA = sum_g n_g HSIC_1(K_g, L_g) / sqrt(sum_g n_g HSIC_1(K_g, K_g) sum_g n_g HSIC_1(L_g, L_g))

over groups g of n_g tokens; with groups of one size it is the paper's. As HSIC_1 is unbiased, so
are the averages, where groups are random. It takes O(S^2) numbers of memory whatever the length of
the text, and hides what shows only between tokens of different groups.

Under permutations of the tokens within each group the numerator has mean 0 and variance
sum_g n_g^2 2 HSIC_1(K_g, K_g) HSIC_1(L_g, L_g) / (n_g (n_g - 3)); see hsic.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.cka import Alignment, cka
from spectrakit.representations.hsic import FEWEST_TOKENS, TooFewTokens, null_variance
from spectrakit.representations.tiles import pair_sums

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class MinibatchCKA:
    """Adds up HSIC_1 of all pairs of S feature sets over groups of at most `group` tokens."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.tokens = 0
        self._hsic: Tensor | None = None
        self._null: Tensor | None = None

    def add(self, features: Sequence[Tensor]) -> None:
        """Take in tokens in a random order: S tensors (n, E), cut into equal groups here.

        Fewer than four tokens are left out.
        """
        n = len(features[0])
        groups = -(-n // self.group)
        for index in range(groups):
            part = slice(index * n // groups, (index + 1) * n // groups)
            size = part.stop - part.start
            if size >= FEWEST_TOKENS:
                hsic = pair_sums([own[part] for own in features], edge=size).hsic()
                self._count(size, size * hsic, size**2 * null_variance(hsic, size))

    def merge(self, other: MinibatchCKA) -> None:
        """Take in what `other` added up over other tokens."""
        if other._hsic is not None and other._null is not None:
            self._count(other.tokens, other._hsic, other._null)

    def _count(self, tokens: int, hsic: Tensor, null: Tensor) -> None:
        self.tokens += tokens
        self._hsic = hsic if self._hsic is None else self._hsic + hsic
        self._null = null if self._null is None else self._null + null

    def cka(self) -> Alignment:
        """Of all pairs (S, S). Raises TooFewTokens where no group had four tokens."""
        if self._hsic is None or self._null is None:
            message = f"HSIC_1 needs groups of {FEWEST_TOKENS} tokens"
            raise TooFewTokens(message)
        return cka(self._hsic.cpu(), self._null.cpu(), self.tokens)
