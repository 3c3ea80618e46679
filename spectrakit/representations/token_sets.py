"""Which tokens of a batch are counted: all, all but the first of a sequence, or but massive ones.

The states of massive tokens are a hundred times longer than the others', and then they alone decide
means of cosines and variances (see massive.py); attention layers park unused weight on them. Often
it is the first token of a sequence, not always, and not that token alone.

B batch, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: The sets, in the order of the last axis of everything that is computed for both.
TOKEN_SETS = ("all", "without_first", "without_massive")

#: Bins of positions: 0, 1, 2-3, 4-7, ...; enough for any sequence.
POSITION_BINS = 32


@dataclass(frozen=True)
class BatchTokens:
    """The tokens of a batch.

    valid: (B, T) of bool, False on padding before or after the text. massive: (B, T) of bool, the
    tokens that are; None where they are not known.
    """

    valid: Tensor
    massive: Tensor | None = None

    @cached_property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return not bool(self.valid.all())

    @cached_property
    def first(self) -> Tensor:
        """The index of each sequence's first token: (B,)."""
        return self.valid.int().argmax(1)

    @cached_property
    def position(self) -> Tensor:
        """How many tokens of its sequence each one has before it: (B, T), below 0 in padding."""
        return self.valid.cumsum(1) - 1

    @cached_property
    def rest(self) -> Tensor:
        """Valid tokens but the first of each sequence: (B, T) of bool."""
        return self.valid & (self.position > 0)

    @cached_property
    def ordinary(self) -> Tensor:
        """Valid tokens that are not massive: (B, T) of bool."""
        return self.valid if self.massive is None else self.valid & ~self.massive

    @cached_property
    def counts(self) -> Tensor:
        """Tokens of each sequence in each of the `TOKEN_SETS`: (B, 3) of float64."""
        return self.weights.sum(-1)

    @cached_property
    def weights(self) -> Tensor:
        """1 for the tokens of each set: (B, 3, T) of float64."""
        return torch.stack([self.valid, self.rest, self.ordinary], 1).double()

    @cached_property
    def neighbours(self) -> Tensor:
        """1 for the tokens of each set whose next one is in it too: (B, 3, T - 1)."""
        return self.weights[..., :-1] * self.weights[..., 1:]

    @cached_property
    def bins(self) -> Tensor:
        """The bin of each token's position: (B, T); padding lies in bin 0."""
        # frexp(p) has the exponent e of 2^(e-1) <= p < 2^e, and 0 of 0.
        return torch.frexp(self.position.clamp(min=0).double()).exponent.long()

    def sums(self, values: Tensor) -> Tensor:
        """Values (B, T) of float64, summed over the tokens of each set: (B, 3)."""
        return torch.einsum("bst,bt->bs", self.weights, values)

    def without_padding(self, states: Tensor) -> Tensor:
        """A copy of states (B, T, E) in float64 that is 0 on padding."""
        wide = states.to(torch.float64, copy=True)
        return wide.masked_fill_(~self.valid.unsqueeze(-1), 0.0) if self.padded else wide


def bin_edges(bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last position of each bin."""
    low = np.where(bins == 0, 0, 2 ** np.maximum(bins - 1, 0))
    return low, np.where(bins == 0, 0, 2**bins - 1)
