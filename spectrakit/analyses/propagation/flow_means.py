"""Means of metrics by depth, over tokens and over positions, while batches go by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.representations.sequence_means import SequenceMeans
from spectrakit.representations.token_sets import POSITION_BINS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.analyses.propagation.tables import Of
    from spectrakit.representations.token_sets import BatchTokens
else:
    torch = lazy_import("torch")

#: What metrics are of, and their names.
Group: TypeAlias = "tuple[Of, tuple[str, ...]]"


class FlowMeans:
    """A mean for every depth and metric: of each token set, and of each bin of positions.

    Metrics of sequences have no positions. What a batch shows is kept until its end and then added
    for all depths at once; that is some numbers for every token and depth.
    """

    def __init__(self) -> None:
        #: Axes: depths, metrics, then token sets and bins.
        self._means: dict[Group, SequenceMeans] = {}
        self._first_depth: dict[Group, int] = {}
        self._of_tokens: dict[Group, list[Tensor]] = {}
        self._of_sequences: dict[Group, list[tuple[Tensor, Tensor]]] = {}

    def add_tokens(self, depth: int, of: Of, found: Mapping[str, Tensor]) -> None:
        """Take in metrics of every token, (B, T) each; NaN is not counted."""
        group = self._group(depth, of, found)
        self._of_tokens.setdefault(group, []).append(torch.stack(tuple(found.values()), 1))

    def add_sequences(
        self, depth: int, of: Of, found: Mapping[str, Tensor], weights: Tensor
    ) -> None:
        """Take in metrics of every sequence and set, (B, 3) each; NaN is not counted.

        weights: (B, 3), tokens of the sets.
        """
        group = self._group(depth, of, found)
        values = torch.stack(tuple(found.values()), 1)
        self._of_sequences.setdefault(group, []).append((values, weights))

    def end_batch(self, tokens: BatchTokens) -> None:
        """Add what was taken in; `tokens` are the batch's."""
        for group, by_depth in self._of_tokens.items():
            self._add(group, *_by_position(torch.stack(by_depth, 1), tokens))
        for group, pairs in self._of_sequences.items():
            values, weights = (torch.stack(parts, 1) for parts in zip(*pairs, strict=True))
            self._add(group, values, weights.unsqueeze(2).expand_as(values))
        self._of_tokens.clear()
        self._of_sequences.clear()

    def __iter__(self) -> Iterator[tuple[Of, tuple[str, ...], int, SequenceMeans]]:
        """What of, names of metrics, the first depth of the means' first axis, the means."""
        for (of, names), means in self._means.items():
            yield of, names, self._first_depth[of, names], means

    def _group(self, depth: int, of: Of, found: Mapping[str, Tensor]) -> Group:
        group = (of, tuple(found))
        self._first_depth.setdefault(group, depth)
        return group

    def _add(self, group: Group, values: Tensor, weights: Tensor) -> None:
        if group not in self._means:
            self._means[group] = SequenceMeans(values.shape[1:])
        self._means[group].add(values.cpu().numpy(), weights.cpu().numpy())


def _by_position(values: Tensor, tokens: BatchTokens) -> tuple[Tensor, Tensor]:
    """Means of values (B, D, M, T), and tokens: (B, D, M, sets + bins).

    Over token sets, over bins of all tokens, and over bins of those that are not massive.
    """
    index = tokens.bins[:, None, None].expand_as(values)
    found = []
    for which in (tokens.valid, tokens.ordinary):
        counted = which[:, None, None] & ~values.isnan()
        found.append([
            values.new_zeros(*values.shape[:3], POSITION_BINS).scatter_add_(3, index, kept.double())
            for kept in (torch.where(counted, values, 0.0), counted)
        ])  # fmt: skip
    # Bin 0 is the first token alone.
    sums, counts = (
        torch.cat([
            every.sum(-1, keepdim=True),
            every[..., 1:].sum(-1, keepdim=True),
            ordinary.sum(-1, keepdim=True),
            every,
            ordinary,
        ], -1)
        for every, ordinary in zip(*found, strict=True)
    )  # fmt: skip
    return torch.where(counts > 0, sums / counts, torch.nan), counts
