"""Which tokens of a batch are counted: all of each sequence, or all but its first.

The first token is apart because attention layers park their unused weight on it: its states are
often a hundred times longer than the others', and then it alone decides means of cosines and
variances.

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
TOKEN_SETS = ("all", "without_first")

#: Bins of positions: 0, 1, 2-3, 4-7, ...; enough for any sequence.
POSITION_BINS = 32


@dataclass(frozen=True)
class BatchTokens:
    """The tokens of a batch, valid (B, T) of bool: False on padding before or after the text."""

    valid: Tensor

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
    def counts(self) -> Tensor:
        """Tokens of each sequence in each of the `TOKEN_SETS`: (B, 2) of float64."""
        return torch.stack([self.valid.sum(1), self.rest.sum(1)], -1).double()

    @cached_property
    def _weights(self) -> Tensor:
        """1 for the tokens of each set: (B, 2, T) of float64."""
        return torch.stack([self.valid, self.rest], 1).double()

    @cached_property
    def neighbours(self) -> Tensor:
        """1 for the tokens of each set whose next one is in it too: (B, 2, T - 1)."""
        return self._weights[..., :-1] * self._weights[..., 1:]

    @cached_property
    def bins(self) -> Tensor:
        """The bin of each token's position: (B, T); padding lies in bin 0."""
        # frexp(p) has the exponent e of 2^(e-1) <= p < 2^e, and 0 of 0.
        return torch.frexp(self.position.clamp(min=0).double()).exponent.long()

    def sums(self, values: Tensor) -> Tensor:
        """Values (B, T) of float64, summed over the tokens of each set: (B, 2)."""
        return torch.einsum("bst,bt->bs", self._weights, values)

    def of_first(self, values: Tensor) -> Tensor:
        """The first token's entry of values (B, T, ...) for each sequence: (B, ...)."""
        return values[torch.arange(len(values), device=values.device), self.first]

    def without_padding(self, states: Tensor) -> Tensor:
        """A copy of states (B, T, E), in float32 at least, that is 0 on padding."""
        wide = states.to(torch.promote_types(states.dtype, torch.float32), copy=True)
        return wide.masked_fill_(~self.valid.unsqueeze(-1), 0.0) if self.padded else wide


def bin_edges(bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last position of each bin."""
    low = np.where(bins == 0, 0, 2 ** np.maximum(bins - 1, 0))
    return low, np.where(bins == 0, 0, 2**bins - 1)
