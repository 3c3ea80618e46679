"""The `perturbation` analysis: how a small change at one token grows through depth and to others.

    h_0[s] -> h_0[s] + d,   ||d|| = size ||h_0[s]||
    gain at depth l and lag k            ||change of h_l[s + k]|| / ||d||
    relative gain                        that, over ||h_l[s + k]|| / ||h_0[s]||

arXiv 2510.06640 speaks of stability without a formula that is known; this is ours. s is the middle
token of each sequence, d a random direction: the same ones in every batch, so that the size
of batches changes nothing. Every batch is run a second time. In float32, changes below about 1e-7
of a state are rounding: a relative gain below 1e-7 / size says no more than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.finite_states import check_finite
from spectrakit.analyses.perturbation.options import PerturbationOptions
from spectrakit.analyses.perturbation.tables import PERTURBATION
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.representations.sequence_means import SequenceMeans
from spectrakit.representations.spread import lengths
from spectrakit.representations.token_sets import BatchTokens
from spectrakit.wording import given

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.analyses.base import Request, Rerun
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Each up to 8, then two to a doubling.
LAGS = (*range(8), *(base << power for power in range(28) for base in (8, 12)))


class Perturbation:
    """The `perturbation` analysis; of each batch it keeps the states at the lags alone."""

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self._seed = request.seed
        self._size = request.options(PerturbationOptions).size
        #: By depth: gain and relative gain, by lag.
        self._means: dict[int, SequenceMeans] = {}
        self._sequences = 0
        self._longest = 0

    def see_states(self, depth: int, states: Tensor, valid: Tensor) -> None:
        """Keep what is to be compared of the residual stream (B, T, E) at one depth.

        Raises AnalysisError where a token's state is NaN or Inf, UsageError for states in half
        precision, in which a small change is rounding.
        """
        if depth == 0:
            if states.dtype in (torch.bfloat16, torch.float16):
                message = f"a small change of states in {states.dtype} is lost in their rounding"
                raise UsageError(message, hint=given(dtype="float32"))
            self._places = _Places(BatchTokens(valid.to(states.device)))
            self._before: list[Tensor] = []
        check_finite(depth, lengths(states), self._places.tokens.valid, self._sequences)
        self._before.append(self._places.taken(states))

    def end_batch(self) -> None:
        """All depths of a batch have been shown."""

    def see_rerun(self, rerun: Rerun, valid: Tensor) -> None:
        """Run the batch again with one token of each sequence changed."""
        places, before = self._places, self._before
        start = before[0][:, 0]
        changed = start + self._change(start)
        size = lengths(changed - start)[:, None]  # (B, 1): the change that was left by rounding
        norm = lengths(start)[:, None]

        def on_states(depth: int, states: Tensor) -> Tensor | None:
            if depth == 0:
                states = places.with_first(states, changed)
            gain = lengths(places.taken(states) - before[depth]) / size
            gain = torch.where(places.reached & (size > 0), gain, torch.nan)
            relative = gain * norm / lengths(before[depth])
            self._add(depth, torch.stack([gain, relative], 1))
            return states if depth == 0 else None

        rerun(on_states)
        self._sequences += len(valid)
        self._longest = max(self._longest, int(valid.sum(1).max()))
        del self._places, self._before

    def finish(self) -> None:
        """Write the gains. Raises AnalysisError where no hidden states were seen."""
        if not self._means:
            message = "perturbation is of hidden states, and none were seen"
            raise AnalysisError(message, hint=given(mode="data"))
        for depth in sorted(self._means):
            means = self._means[depth]
            found = np.flatnonzero(means.sequences[0])
            (gain, relative), errors = means.mean[:, found], means.standard_error[:, found]
            columns = {
                "depth": depth,
                "lag": np.array(LAGS)[found],
                "gain": gain,
                "standard_error": errors[0],
                "relative_gain": relative,
                "relative_standard_error": errors[1],
                "size": self._size,
                "sequences": means.sequences[0, found],
                "seq_len": self._longest,
            }
            self.sink.append(PERTURBATION, PERTURBATION.table(columns, rows=len(found)))

    def _change(self, states: Tensor) -> Tensor:
        """A small vector for each of the states (B, E)."""
        generator = torch.Generator().manual_seed(self._seed)
        drawn = torch.randn(states.shape, generator=generator).to(states)
        scale = self._size * lengths(states) / lengths(drawn)
        return drawn * scale.to(drawn.dtype)[:, None]

    def _add(self, depth: int, gains: Tensor) -> None:
        """Gains (B, 2, K) of the first K lags."""
        values = np.full((len(gains), 2, len(LAGS)), np.nan)
        values[..., : gains.shape[2]] = gains.masked_fill(gains.isinf(), torch.nan).cpu().numpy()
        self._of(depth).add(values, np.ones_like(values))

    def _of(self, depth: int) -> SequenceMeans:
        return self._means.setdefault(depth, SequenceMeans((2, len(LAGS))))


class _Places:
    """The middle token of each sequence, and those at the lags after it."""

    def __init__(self, tokens: BatchTokens) -> None:
        self.tokens = tokens
        lengths_of = tokens.counts[:, 0].long()
        lags = torch.tensor([lag for lag in LAGS if lag < tokens.valid.shape[1]])
        lags = lags.to(tokens.valid.device)
        middle = lengths_of // 2
        #: Whether a sequence has a token at a lag: (B, K).
        self.reached = middle[:, None] + lags < lengths_of[:, None]
        index = tokens.first[:, None] + middle[:, None] + lags
        self._index = index.clamp(max=tokens.valid.shape[1] - 1)
        self._row = torch.arange(len(index), device=index.device)[:, None]

    def taken(self, states: Tensor) -> Tensor:
        """A copy of the states there: (B, K, E)."""
        return states[self._row, self._index]

    def with_first(self, states: Tensor, changed: Tensor) -> Tensor:
        """A copy of the states, with `changed` (B, E) in the middle of each sequence."""
        states = states.clone()
        states[self._row[:, 0], self._index[:, 0]] = changed
        return states
