"""The `propagation` analysis: how representations travel through depth, and how alike they become.

Of the residual stream at every depth, and of what each block adds to it: what every token does
(`spectrakit.representations.path`), by position too, and how the tokens of a sequence lie to each
other (`spread`, `dimension`), with and without the first token, massive tokens and massive
coordinates (`massive`). Cosine to the next layer and inter-token cosine are those of arXiv
2510.06640; of the other quantities the paper's own formulas are not known, and the definitions are
ours.

A batch at all depths is held while it passes, since what is massive at one depth is left out at all
of them; only means outlast it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from spectrakit._threads import one_thread
from spectrakit.analyses.finite_states import check_finite
from spectrakit.analyses.massive.options import MassiveOptions
from spectrakit.analyses.massive.rows import MassiveFound
from spectrakit.analyses.massive.tables import MASSIVE
from spectrakit.analyses.propagation.flow import Flow
from spectrakit.analyses.propagation.flow_means import FlowMeans
from spectrakit.analyses.propagation.options import PropagationOptions
from spectrakit.analyses.propagation.rows import propagation_rows
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.analyses.sample_size import one_sequence
from spectrakit.errors import AnalysisError
from spectrakit.representations.massive import Massive
from spectrakit.representations.spread import lengths
from spectrakit.representations.token_sets import BatchTokens
from spectrakit.wording import given

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.analyses.base import Request
    from spectrakit.tables import Sink


class Propagation:
    """The `propagation` analysis."""

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self._rank_tokens = request.options(PropagationOptions).rank_tokens
        self._limits = request.options(MassiveOptions).limits
        #: Of all coordinates, and of those that are not massive.
        self._means = FlowMeans()
        self._without_massive = FlowMeans()
        self._massive = MassiveFound()
        self._longest = 0
        self._batch: list[Tensor] = []
        self._norms: list[Tensor] = []

    @one_thread()
    def see_states(self, depth: int, states: Tensor, valid: Tensor) -> None:
        """Take in the residual stream (B, T, E) at one depth.

        Raises AnalysisError where a token's state is NaN or Inf.
        """
        if depth == 0:
            self._batch, self._norms = [], []
            self._valid = valid.to(states.device)
        norms = lengths(states)
        check_finite(depth, norms, self._valid, self._massive.sequences)
        self._batch.append(states.clone())
        self._norms.append(norms)

    @one_thread()
    def end_batch(self) -> None:
        """All depths of a batch have been shown."""
        found = Massive(self._batch, self._norms, self._valid, self._limits)
        tokens = BatchTokens(self._valid, found.tokens)
        self._massive.add(found, tokens.position)
        both = (self._means, self._without_massive)
        if any(bool(own.any()) for own in found.coordinates.values()):
            left_out = [found.coordinates[own.shape[2]] for own in self._batch]
            self._add(tokens, both[:1])
            self._add(tokens, both[1:], left_out)
        else:
            self._add(tokens, both)
        self._batch, self._norms = [], []
        self._longest = max(self._longest, int(tokens.counts[:, 0].max()))

    def _add(
        self,
        tokens: BatchTokens,
        means: Sequence[FlowMeans],
        left_out: Sequence[Tensor] | None = None,
    ) -> None:
        """Add the batch to these means; left_out: coordinates (B, E) at every depth."""
        flow = Flow(tokens, self._rank_tokens, means)
        for depth, own in enumerate(self._batch):
            states = tokens.without_padding(own)
            if left_out is not None:  # zeros add nothing to a norm, a product or a distance
                states.masked_fill_(left_out[depth].unsqueeze(1), 0.0)
            flow.advance(depth, states)
        for of in means:
            of.end_batch(tokens)

    def warnings(self) -> Iterable[str]:
        """Where no standard error can be given."""
        return one_sequence("propagation", self._massive.sequences)

    def finish(self) -> None:
        """Write every depth and metric. Raises AnalysisError where no hidden states were seen."""
        if self._massive.sequences == 0:
            message = "propagation is of hidden states, and none were seen"
            raise AnalysisError(message, hint=given(mode="data"))
        for means, coordinates in (
            (self._without_massive, "without_massive"),
            (self._means, "all"),
        ):
            rows = propagation_rows(means, self._longest, coordinates)
            self.sink.append(PROPAGATION, PROPAGATION.table(rows))
        massive = self._massive.rows("propagation")
        if massive is not None:
            self.sink.append(MASSIVE, MASSIVE.table(massive))
