"""Massive activations: the few tokens, and the few coordinates, that decide means of hidden states.

    token       massive at a depth where   ||h_t|| > k median_s ||h_s||
    coordinate  massive at a depth where   v_c > k median_d v_d   or   q_c > k median_d q_d

v_c variance and q_c mean square of coordinate c, over the tokens that are not massive; s over the
tokens of the same sequence, d over coordinates. (Sun et al. 2024, arXiv 2402.17762, who look at
single entries.) What is massive at one depth is left out at all of them, so that depths have the
same tokens and coordinates. Each sequence is judged by itself, which makes what is found the same
however a text is cut into batches.

k = 20: in SmolLM2-135M on WikiText-2 massive tokens have 32 to 194 times the median norm and the
others up to 13; 5 to 11 of 576 coordinates lie above it at the inner depths. Normal noise,
untrained and small models have neither.

B sequences, T tokens, E width.
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

#: A variance of fewer tokens says too little about a coordinate.
FEWEST_TOKENS = 16


def token_ratios(norms: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """||h|| over the median of its sequence, and that median: (B, T), (B,); NaN on padding.

    norms, valid: (B, T). The ratio is NaN where the median is 0.
    """
    own = norms.double().masked_fill(~valid, torch.nan)
    median = own.nanmedian(1).values
    return own / median.masked_fill(median == 0, torch.nan)[:, None], median


def coordinate_ratios(states: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """The larger of a coordinate's two ratios, and its mean square: (B, E) of float64.

    states (B, T, E), counted (B, T). 0 in sequences that count too few tokens, and where the median
    is 0.
    """
    ratios, squares = states.new_zeros(2, len(states), states.shape[2], dtype=torch.float64)
    for index, (own, which) in enumerate(zip(states, counted, strict=True)):
        taken = own[which].double()
        if len(taken) >= FEWEST_TOKENS:
            squares[index] = taken.square().mean(0)
            both = torch.stack([taken.var(0, correction=0), squares[index]])
            median = both.median(1, keepdim=True).values
            ratios[index] = torch.where(median > 0, both / median, 0.0).amax(0)
    return ratios, squares


class Massive:
    """What is massive in a batch, once its states are there at all depths."""

    def __init__(
        self,
        states: Sequence[Tensor],
        norms: Sequence[Tensor],
        valid: Tensor,
        limits: tuple[float, float],
    ) -> None:
        """states (B, T, E) and norms (B, T) at each depth; limits: k of tokens, of coordinates."""
        self.limits = limits
        found = [token_ratios(own, valid) for own in norms]
        #: At each depth: of tokens (B, T) and medians (B,), of coordinates (B, E) and squares.
        self.token_ratios = [ratio for ratio, _ in found]
        self.medians = [median for _, median in found]
        #: Massive at any depth: (B, T) of bool.
        self.tokens = torch.stack([own > limits[0] for own in self.token_ratios]).any(0)
        counted = valid & ~self.tokens
        by_depth = [coordinate_ratios(own, counted) for own in states]
        self.coordinate_ratios = [ratio for ratio, _ in by_depth]
        self.squares = [square for _, square in by_depth]
        #: Massive at any depth of this width: (B, E) of bool, by width.
        self.coordinates: dict[int, Tensor] = {}
        for ratio in self.coordinate_ratios:
            here = ratio > limits[1]
            before = self.coordinates.get(ratio.shape[1])
            self.coordinates[ratio.shape[1]] = here if before is None else before | here
        #: The sequences that had tokens enough to judge coordinates: (B,) of bool.
        self.judged = counted.sum(1) >= FEWEST_TOKENS
