"""The `propagation` analysis: how representations travel through depth, and how alike they become.

Of the residual stream at every depth, and of what each block adds to it: what every token does
(`spectrakit.representations.path`), by position too, and how the tokens of a sequence lie to each
other (`spread`, `dimension`), with and without the first token. Cosine to the next layer and
inter-token cosine are those of arXiv 2510.06640; of the other quantities the paper's own formulas
are not known, and the definitions are ours.

Four tensors of the size of a batch's hidden states are held while it passes; only means outlast it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from spectrakit._lazy import lazy_import
from spectrakit._threads import one_thread
from spectrakit.analyses.finite_states import check_finite
from spectrakit.analyses.flow_means import FlowMeans
from spectrakit.analyses.propagation_rows import propagation_rows
from spectrakit.errors import AnalysisError
from spectrakit.representations import spread
from spectrakit.representations.dimension import dimensions
from spectrakit.representations.path import Path, angle
from spectrakit.representations.token_sets import BatchTokens
from spectrakit.tables.propagation_schema import PROPAGATION

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.analyses.base import Request
    from spectrakit.tables import Sink
    from spectrakit.tables.propagation_schema import Of
else:
    torch = lazy_import("torch")


class Propagation:
    """The `propagation` analysis."""

    name: ClassVar[str] = "propagation"

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self._rank_tokens = request.propagation.rank_tokens
        self._means = FlowMeans()
        self._sequences = 0
        self._longest = 0

    @one_thread()
    def see_states(self, depth: int, states: Tensor, valid: Tensor) -> None:
        """Take in the residual stream (B, T, E) at one depth.

        Raises AnalysisError where a token's state is NaN or Inf.
        """
        if depth == 0:
            self._tokens = BatchTokens(valid.to(states.device))
        states = self._tokens.without_padding(states)
        if depth == 0:
            self._path = Path(states)
        else:
            self._advance(depth, states)
        path = self._path
        check_finite(depth, path.norm, self._tokens.valid, self._sequences)
        found = {
            "norm": path.norm,
            "path_length": path.length,
            "path_energy": path.energy,
            "relative_path_length": path.relative_length,
            "relative_path_energy": path.relative_energy,
            "straightness": path.straightness(),
        }
        self._means.add_tokens(depth, "stream", found)
        self._add_sequences(depth, "stream", states, path.norm)

    @one_thread()
    def end_batch(self) -> None:
        """All depths of a batch have been shown."""
        self._means.end_batch(self._tokens)
        counts = self._tokens.counts[:, 0]
        self._sequences += len(counts)
        self._longest = max(self._longest, int(counts.max()))
        del self._path, self._tokens

    def merge(self, other: Self) -> None:
        """Take in what `other` saw of the same model on other tokens."""
        self._means.merge(other._means)
        self._sequences += other._sequences
        self._longest = max(self._longest, other._longest)

    def finish(self) -> None:
        """Write every depth and metric. Raises AnalysisError where no hidden states were seen."""
        if self._sequences == 0:
            message = "propagation is of hidden states, and none were seen"
            raise AnalysisError(message, hint="--mode data")
        rows = propagation_rows(self._means, self._longest)
        self.sink.append(PROPAGATION, PROPAGATION.table(rows))

    def _advance(self, depth: int, states: Tensor) -> None:
        """What the block that ends at `depth` did, and what that says of the depth before."""
        step = self._path.advance(states)
        check_finite(depth, self._path.norm, self._tokens.valid, self._sequences)
        self._means.add_tokens(depth - 1, "stream", {"cosine_next": step.cosine})
        if step.turn is not None:
            self._means.add_tokens(depth - 1, "stream", {"curvature": angle(step.turn)})
            self._means.add_tokens(depth - 1, "update", {"cosine_next": step.turn})
        here = {"norm": step.norm, "relative_norm": step.relative_norm}
        self._means.add_tokens(depth, "update", here)
        self._add_sequences(depth, "update", step.update, step.norm)

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
        self._means.add_sequences(depth, of, found, tokens.counts)
        rank, ratio = dimensions(states, tokens, self._rank_tokens)
        spectral = {"effective_rank": rank, "participation_ratio": ratio}
        most = tokens.counts.new_tensor([self._rank_tokens, self._rank_tokens - 1])
        self._means.add_sequences(depth, of, spectral, torch.minimum(tokens.counts, most))
