"""One batch on its way through depth: every metric of `propagation`, depth after depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations import spread
from spectrakit.representations.dimension import dimensions, tokens_taken
from spectrakit.representations.path import Path, angle

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.analyses.propagation.flow_means import FlowMeans
    from spectrakit.analyses.propagation.tables import Of
    from spectrakit.representations.token_sets import BatchTokens
else:
    torch = lazy_import("torch")


class Flow:
    """Adds the metrics of one batch to means; holds three tensors of the size of its states."""

    def __init__(self, tokens: BatchTokens, rank_tokens: int, means: Sequence[FlowMeans]) -> None:
        """rank_tokens: of a sequence, at most, for ranks. means: all take in the same."""
        self._tokens = tokens
        self._rank_tokens = rank_tokens
        self._taken = tokens_taken(tokens, rank_tokens)
        self._means = means

    def advance(self, depth: int, states: Tensor) -> None:
        """Go on to the residual stream (B, T, E) of float64 at this depth, 0 on padding."""
        if depth == 0:
            self._path = Path(states)
        else:
            self._step(depth, states)
        path = self._path
        found = {
            "norm": path.norm,
            "path_length": path.length,
            "path_energy": path.energy,
            "relative_path_length": path.relative_length,
            "relative_path_energy": path.relative_energy,
            "straightness": path.straightness(),
        }
        self._add_tokens(depth, "stream", found)
        self._add_sequences(depth, "stream", states, path.norm)

    def _step(self, depth: int, states: Tensor) -> None:
        """What the block that ends at `depth` did, and what that says of the depth before."""
        step = self._path.advance(states)
        self._add_tokens(depth - 1, "stream", {"cosine_next": step.cosine})
        if step.turn is not None:
            self._add_tokens(depth - 1, "stream", {"curvature": angle(step.turn)})
            self._add_tokens(depth - 1, "update", {"cosine_next": step.turn})
        here = {"norm": step.norm, "relative_norm": step.relative_norm}
        self._add_tokens(depth, "update", here)
        self._add_sequences(depth, "update", step.update, step.norm)

    def _add_tokens(self, depth: int, of: Of, found: Mapping[str, Tensor]) -> None:
        for means in self._means:
            means.add_tokens(depth, of, found)

    def _add_sequences(self, depth: int, of: Of, states: Tensor, norms: Tensor) -> None:
        tokens = self._tokens
        square = spread.mean_square(norms, tokens)
        variance = spread.token_variance(states, tokens)
        energy = spread.dirichlet_energy(states, tokens)
        found = {
            "inter_token_cosine": spread.inter_token_cosine(states, norms, tokens),
            "token_variance": variance,
            "normalised_variance": spread.normalised(variance, square),
            "dirichlet_energy": energy,
            "normalised_dirichlet_energy": spread.normalised(energy, square),
        }
        rank, ratio = dimensions(states, tokens, self._rank_tokens)
        spectral = {"effective_rank": rank, "participation_ratio": ratio}
        for means in self._means:
            means.add_sequences(depth, of, found, tokens.counts)
            means.add_sequences(depth, of, spectral, self._taken)
