"""Sums over all pairs of tokens, from tiles of the Gram matrices: exact, and never n x n.

    K = [ K_11  K_12  ... ]      a tile K_IJ of every feature set at once: (S, I, J)
        [  .    K_22  ... ]      its products between sets: (S, I J) (I J, S)

Products are in float64: U-centring takes away what one huge token adds to all rows, and in float32
the digits of the others would go with it (SmolLM2 has tokens of 170 times the median norm).

Only tiles on and above the diagonal are made, the others are their mirror images. It takes
n^2 sum(E) / 2 multiplications for S sets of n tokens and width E, and n^2 S^2 / 2 for all pairs.
Kept features, and one tile of every set with its tokens, are all the memory it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.hsic import PairSums
from spectrakit.representations.kernels import Kernel, Linear, robust_centre

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Tokens along a tile's edge, where memory allows: long enough for fast products.
LONGEST_EDGE = 512
SHORTEST_EDGE = 32
_SOME = 64


def edge_within(widths: Sequence[int], memory_bytes: int) -> int:
    """The longest edge, a power of two, whose tiles in float64 take no more memory.

    widths: of the sets. Counted are twice the tiles and twice their tokens.
    """
    edge = LONGEST_EDGE
    while edge > SHORTEST_EDGE and 16 * edge * (edge * len(widths) + sum(widths)) > memory_bytes:
        edge //= 2
    return edge


def pair_sums(
    features: Sequence[Tensor],
    kernel: Kernel | None = None,
    *,
    edge: int = LONGEST_EDGE,
) -> PairSums:
    """The sums that HSIC_1 is made of, of all pairs of feature sets.

    features: S tensors (n, E), tokens in the same order; widths may differ. kernel: linear if None.
    edge: tokens along a tile.
    """
    n, sets = len(features[0]), len(features)
    kernel = kernel or Linear()
    groups = [_OfOneWidth(features, group) for group in _by_width(features)]
    inner = torch.zeros(sets, sets, dtype=torch.float64, device=features[0].device)
    rows = torch.zeros(sets, n, dtype=torch.float64, device=features[0].device)
    blocks = [slice(start, min(start + edge, n)) for start in range(0, n, edge)]
    for index, here in enumerate(blocks):
        tokens = [group.tokens(here) for group in groups]
        for there in blocks[index:]:
            others = tokens if here == there else [group.tokens(there) for group in groups]
            tiles = _joined([
                kernel(own, other, group.sets)
                for own, other, group in zip(tokens, others, groups, strict=True)
            ])  # fmt: skip
            if here == there:
                tiles.diagonal(dim1=1, dim2=2).zero_()
            flat = tiles.flatten(1)
            inner += (1 if here == there else 2) * (flat @ flat.mT)
            rows[:, here] += tiles.sum(2)
            if here != there:
                rows[:, there] += tiles.sum(1)
    constant = torch.cat([group.constant() for group in groups])
    # From the order of the groups to that of the sets.
    order = torch.tensor([index for group in groups for index in group.sets]).argsort()
    inner, rows, constant = inner[order][:, order], rows[order], constant[order]
    rounding = 16 * torch.finfo(torch.float64).eps
    return PairSums(n, inner, rows @ rows.mT, rows.sum(1), constant, rounding)


class _OfOneWidth:
    """The feature sets of one width: a few large products are faster than many small ones."""

    def __init__(self, features: Sequence[Tensor], sets: list[int]) -> None:
        self.sets = sets
        self._features = [features[index] for index in sets]
        self._centres = torch.stack([robust_centre(own) for own in self._features]).unsqueeze(1)

    def tokens(self, which: slice) -> Tensor:
        """Those tokens without their centre: (G, I, E) of float64."""
        return torch.stack([own[which] for own in self._features]).double().sub_(self._centres)

    def constant(self) -> Tensor:
        """Whether their tokens differ from the mean by its rounding alone: (G,) of bool."""
        return torch.stack([is_constant(own) for own in self._features])


def _by_width(features: Sequence[Tensor]) -> list[list[int]]:
    """The sets of each width and type."""
    found: dict[tuple[int, torch.dtype], list[int]] = {}
    for index, own in enumerate(features):
        found.setdefault((own.shape[1], own.dtype), []).append(index)
    return list(found.values())


def _joined(tiles: list[Tensor]) -> Tensor:
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles)


def working_dtype(features: Sequence[Tensor]) -> torch.dtype:
    """The widest type among the features, float32 at least."""
    widest = torch.float32
    for own in features:
        widest = torch.promote_types(widest, own.dtype)
    return widest


def is_constant(features: Tensor) -> Tensor:
    """Whether tokens (n, E) differ from their mean by its rounding alone: () of bool.

    Most that do not are told by a few of their tokens.
    """
    dtype = working_dtype([features])
    mean = features.mean(0, dtype=dtype)
    for part in features.split(_SOME):
        wide = part.to(dtype)
        if bool((wide - mean).norm() > 16 * torch.finfo(dtype).eps * wide.norm()):
            return torch.tensor(False, device=features.device)
    return torch.tensor(True, device=features.device)
