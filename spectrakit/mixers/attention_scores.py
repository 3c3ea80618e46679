"""The scores of softmax attention, and which earlier tokens each token reads: a block at a time.

    s_tj = cap(scale q_t . k_j) + mask_tj        cap(x) = c tanh(x / c), or x without a soft cap

Nothing here builds all T x T pairs: `rows` gives those of a few tokens.

B batch, T tokens, H heads, G groups (H / G consecutive heads share a key), K key width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

_NOTHING = -float("inf")


class Mask(Protocol):
    """What is added to the scores: -inf where a token does not read, else a bias or zero."""

    def rows(self, first: int, last: int) -> Tensor:
        """Of the tokens from `first` up to `last`: (B or 1, H or 1, last - first, T), float."""


@dataclass(frozen=True)
class CausalMask:
    """Every token reads itself and those before it.

    tokens: T. window: how many tokens it reads at most, itself included; None for all of them.
    valid: (B, T) of bool, False on tokens that none may read (padding); None where all may be read.
    """

    tokens: int
    device: torch.device
    window: int | None = None
    valid: Tensor | None = None

    def rows(self, first: int, last: int) -> Tensor:
        """(B or 1, 1, last - first, T)."""
        keys = torch.arange(self.tokens, device=self.device)
        back = torch.arange(first, last, device=self.device).unsqueeze(-1) - keys
        reads = back >= 0
        if self.window is not None:
            reads &= back < self.window
        reads = reads[None, None]
        if self.valid is not None:
            reads = reads & self.valid[:, None, None]
        return additive(reads)


@dataclass(frozen=True)
class DistanceMask:
    """ALiBi: a bias of -slope_h (t - j), and no later tokens; slopes 2^(-8 h / H), h from 1.

    tokens: T. heads: H. dtype: of the bias. Press et al. 2022 (arXiv 2108.12409), section 3.
    """

    tokens: int
    heads: int
    device: torch.device
    dtype: torch.dtype

    def rows(self, first: int, last: int) -> Tensor:
        """(1, H, last - first, T)."""
        keys = torch.arange(self.tokens, device=self.device, dtype=self.dtype)
        ahead = keys - torch.arange(first, last, device=self.device, dtype=self.dtype)[:, None]
        numbers = torch.arange(1, self.heads + 1, device=self.device, dtype=self.dtype)
        bias = (2 ** (-8 * numbers / self.heads)).view(1, -1, 1, 1) * ahead
        return bias.masked_fill(ahead > 0, _NOTHING)


@dataclass(frozen=True)
class GivenMask:
    """A mask or bias that a model made itself.

    values: (B or 1, H or 1, T, T): of bool, True where a token reads, or added to the scores.
    """

    values: Tensor

    def rows(self, first: int, last: int) -> Tensor:
        """(B or 1, H or 1, last - first, T)."""
        return additive(self.values[:, :, first:last])


def additive(mask: Tensor) -> Tensor:
    """A mask to be added to scores, with -inf wherever it forbids to read.

    mask: of bool, True where reading is allowed, or already additive, with the lowest number of its
    dtype (or so) for -inf.
    """
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, _NOTHING)
    return mask.masked_fill(mask <= torch.finfo(mask.dtype).min / 2, _NOTHING)


@dataclass(frozen=True)
class Scores:
    """What softmax attention takes the exponential of.

    query: (B, H, T, K). key: (B, G, T, K). scale: of their products. mask: None for a causal one
    without a window, padding or bias. soft_cap: c. sinks: (H,), a score of each head that is always
    among the others, but has no value; None where there is none.
    """

    query: Tensor
    key: Tensor
    scale: float
    mask: Mask | None = None
    soft_cap: float | None = None
    sinks: Tensor | None = None

    @property
    def tokens(self) -> int:
        """T."""
        return self.query.shape[2]

    def own(self) -> Tensor:
        """s_tt before the mask is added, (B, H, T): each query with its own key, in float64."""
        query = _widened(self.query).unflatten(1, (self.key.shape[1], -1))
        products = (query * _widened(self.key).unsqueeze(2)).sum(-1, dtype=torch.float64)
        return self._capped(products.flatten(1, 2) * self.scale)

    def mask_rows(self, first: int, last: int) -> Tensor:
        """Of the mask, the causal one included: (B or 1, H or 1, last - first, T)."""
        mask = self.mask or CausalMask(self.tokens, self.query.device)
        return mask.rows(first, last)

    def rows(self, first: int, last: int) -> Tensor:
        """Scores of the tokens from `first` up to `last`, in float32 or wider.

        (B, H, last - first, T), -inf where a token does not read another.
        """
        return self.masked(self.mask_rows(first, last), first, 0)

    def masked(self, mask: Tensor, first_row: int, first_column: int) -> Tensor:
        """Scores of the rows and columns that `mask` (B or 1, H or 1, rows, columns) is about."""
        rows = slice(first_row, first_row + mask.shape[2])
        columns = slice(first_column, first_column + mask.shape[3])
        query = _widened(self.query[:, :, rows])
        key = _widened(self.key[:, :, columns])
        # The heads of a group stand below each other, so that no key is repeated.
        products = query.unflatten(1, (key.shape[1], -1)).flatten(2, 3) @ key.transpose(-1, -2)
        scores: Tensor = products.reshape(*query.shape[:3], key.shape[2]) * self.scale
        return self._capped(scores) + mask

    def _capped(self, scores: Tensor) -> Tensor:
        if self.soft_cap is None:
            return scores
        return self.soft_cap * torch.tanh(scores / self.soft_cap)


def _widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


@dataclass(frozen=True)
class ScoresOfWeights:
    """The scores of an attention that was seen by its weights: s_tj = log w_tj + LSE_t.

    weights: (B, H, T, T), softmax of the scores. log_normaliser: LSE (B, H, T).
    """

    weights: Tensor
    log_normaliser: Tensor

    def rows(self, first: int, last: int) -> Tensor:
        """(B, H, last - first, T), -inf where a token does not read another."""
        weights = self.weights[:, :, first:last].double()
        return weights.log() + self.log_normaliser[:, :, first:last, None]
