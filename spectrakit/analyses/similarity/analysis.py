"""The `similarity` analysis: how alike the residual stream is at any two depths of a model.

Linear CKA over all tokens, unbiased (HSIC_1), is exact as long as the memory allows; the others are
CKA averaged over groups of tokens, CKA with a Gaussian kernel, mutual k-nearest-neighbour alignment
and orthogonal Procrustes distance (`spectrakit.representations` has the formulas). Every value
comes with the number of tokens, the width, and where it would lie by chance. arXiv 2510.06640 shows
layer-by-layer CKA without saying which; the choice of HSIC_1 and of what is compared (the residual
stream between blocks) is ours.

Tokens and coordinates with massive activations decide linear CKA alone, so every value is there
without them and with them (`spectrakit.representations.massive`).

A batch at all depths is held while it passes; what outlasts it is bounded by an option.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spectrakit.analyses.finite_states import check_finite
from spectrakit.analyses.massive.options import MassiveOptions
from spectrakit.analyses.massive.rows import MassiveFound
from spectrakit.analyses.massive.tables import MASSIVE
from spectrakit.analyses.sample_size import too_few
from spectrakit.analyses.similarity.estimates import estimates
from spectrakit.analyses.similarity.options import SimilarityOptions
from spectrakit.analyses.similarity.rows import depth_pairs, similarity_rows
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.analyses.similarity.tokens import SimilarityTokens
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.representations.massive import Massive
from spectrakit.representations.spread import lengths
from spectrakit.representations.token_sample import token_priorities
from spectrakit.representations.token_sets import BatchTokens
from spectrakit.wording import given, named

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.analyses.base import Request
    from spectrakit.tables import Sink


class Similarity:
    """The `similarity` analysis."""

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self._options = request.options(SimilarityOptions)
        self._seed = request.seed
        self._limits = request.options(MassiveOptions).limits
        self._tokens = SimilarityTokens(self._options)
        self._massive = MassiveFound()
        self._widths: list[int] = []
        self._batch: list[Tensor] = []
        self._norms: list[Tensor] = []

    def see_states(self, depth: int, states: Tensor, valid: Tensor) -> None:
        """Take in the residual stream (B, T, E) at one depth.

        Raises AnalysisError where a token's state is NaN or Inf.
        """
        if depth == 0:
            self._start(states, valid.to(states.device))
        norms = lengths(states)
        check_finite(depth, norms, self._valid, self._massive.sequences)
        self._batch.append(states.clone())
        self._norms.append(norms)

    def _start(self, states: Tensor, valid: Tensor) -> None:
        """Put the tokens of a new batch in a random order: that of their priorities."""
        self._valid, tokens = valid, BatchTokens(valid)
        counted = tokens.rest if self._options.without_first else valid
        chosen = counted.flatten().nonzero().flatten()
        priorities = token_priorities(states, valid, self._seed).flatten()[chosen]
        self._priorities, order = priorities.sort(stable=True)
        self._order = chosen[order]

    def end_batch(self) -> None:
        """All depths of a batch have been shown.

        Raises UsageError where the memory it may take is too little for anything.
        """
        batch, self._batch = self._batch, []
        found = Massive(batch, self._norms, self._valid, self._limits)
        self._norms = []
        self._massive.add(found, BatchTokens(self._valid).position)
        for index, states in enumerate(batch):  # one after another: they are large
            batch[index] = states.flatten(0, 1)[self._order]
        self._widths = [states.shape[1] for states in batch]
        try:
            self._tokens.add(batch, self._priorities, found.tokens.flatten()[self._order])
        except MemoryError as error:
            message = f"too little memory for similarity at {len(batch)} depths: {error}"
            raise UsageError(message, hint=f"a larger {named('similarity_memory')}") from error

    def warnings(self) -> Iterable[str]:
        """Where there are fewer tokens than features, and nearly any two depths can be aligned."""
        width = max(self._widths, default=0)
        why = f"{width:,} features need for values that are not mostly of the sample"
        return too_few("similarity", self._tokens.seen, width, "tokens", why)

    def finish(self) -> None:
        """Write every pair of depths. Raises AnalysisError where no hidden states were seen."""
        if not self._widths:
            message = "similarity is of hidden states, and none were seen"
            raise AnalysisError(message, hint=given(mode="data"))
        kept = [self._massive.kept(width) for width in self._widths]
        for estimate in estimates(self._options, self._seed, self._tokens, kept):
            pairs = depth_pairs(len(self._widths), adjacent=estimate.declared.adjacent)
            rows = similarity_rows(estimate, self._widths, pairs, self._options)
            self.sink.append(SIMILARITY, SIMILARITY.table(rows))
        massive = self._massive.rows("similarity")
        if massive is not None:
            self.sink.append(MASSIVE, MASSIVE.table(massive))
