"""Centred kernel alignment (CKA): how alike two sets of features arrange the same tokens.

    CKA(X, Y) = HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L))

With the linear kernel K = X X^T it compares covariances (Kornblith et al. 2019) and does not change
under rotations, shifts and one scale factor of either side. HSIC_1 makes it unbiased (Nguyen et al.
2021): near 0 for independent features however wide they are, and sometimes below 0. The biased one
is not offered, because it rises to 1 as width over tokens grows.

`null_std` is the spread over permutations of the tokens, known in closed form (see hsic.py): a
single set of n tokens has sqrt(2 / (n(n-3))). Tokens of a text are not exchangeable, so z says how
far a value is from chance pairing, not how surprising it is for neighbouring words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.hsic import null_variance

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class Alignment:
    """A measure of all pairs of S feature sets: NaN where a set does not vary.

    value, null_mean, null_std: (S, S), of the data and over permutations of one set's tokens.
    """

    value: Tensor
    null_mean: Tensor
    null_std: Tensor
    tokens: int

    @property
    def null_z(self) -> Tensor:
        """How many spreads of its permutation null a value is above the null's mean."""
        return (self.value - self.null_mean) / self.null_std


def cka(hsic: Tensor, null: Tensor, tokens: int) -> Alignment:
    """CKA of all pairs from their HSIC_1 (S, S) and its variance under permutation (S, S)."""
    own = hsic.diagonal()
    scale = torch.outer(own, own).sqrt()
    return Alignment(hsic / scale, torch.zeros_like(hsic) / scale, null.sqrt() / scale, tokens)


def cka_of(hsic: Tensor, tokens: int) -> Alignment:
    """CKA from HSIC_1 (S, S) over one set of tokens."""
    return cka(hsic, null_variance(hsic, tokens), tokens)
