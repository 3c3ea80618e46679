"""Memory of every layer: what its state still tells of an input so many tokens ago.

A recurrence whose A and B do not vary, and the nominal one of weights mode, has a memory function
that its eigenvalues fix (`spectrakit.dynamics.fixed_memory`), for every channel or head; it is
written when first seen. One that varies is observed at some tokens of every sequence and in some
of its heads or channels (`spectrakit.dynamics.observed_memory`). Both are there again for a state
that is stored in fewer bits (`rounded_memory`, `observed_rounding`). Softmax attention keeps every
key; the numerical rank of its key kernel stands in for it, under a name of its own.

The fixed memory function is that of arXiv 2510.00563 (and Dambre et al. 2012); the observed one,
the rounded one and the key kernel's rank are our own choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.adding import adding
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.memory.rows import (
    Row,
    labels,
    write_key_ranks,
    write_memory,
    write_reason,
)
from spectrakit.analyses.memory.samples import KeyRanks, MemorySamples
from spectrakit.dynamics import ConstantInput
from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.fixed_memory import NoMemoryFunctionError, fixed_memory
from spectrakit.dynamics.key_kernel import key_kernel_rank
from spectrakit.dynamics.observed_memory import Reading, observed_memories
from spectrakit.dynamics.part import some_heads, spread
from spectrakit.errors import AnalysisError
from spectrakit.mixers.attention_scores import Scores
from spectrakit.mixers.softmax_attention import ScoreOutput
from spectrakit.wording import named

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from spectrakit.analyses.base import Request
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import HeadAxis, Recurrence
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")

#: States of the heads of a layer that are looked at, together.
_MOST_STATES = 256
#: Heads of softmax attention that are looked at, and keys of each, spread evenly: a kernel of all
#: the keys of a long text would be its length squared.
_KERNELS, _KEYS = 2, 512


class Memory:
    """The `memory` analysis."""

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self.options = request.options(MemoryOptions)
        self._delays = Delays(self.options.horizon, self.options.per_octave)
        self._observed: dict[int, _Observed] = {}
        self._attention: dict[int, _Attention] = {}
        #: Layers whose memory is the same for every token: written when first seen.
        self._written: set[int] = set()

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence."""
        if layer.index in self._written:
            return
        recurrence = recurrence.as_read  # memory is the same in every gauge
        with adding(layer, recurrence, valid):
            if valid is None or _is_fixed(recurrence):
                self._written.add(layer.index)
                self._write_fixed(layer, recurrence)
            elif isinstance(recurrence.output_map, ScoreOutput):
                self._see_attention(layer, recurrence, valid)
            elif recurrence.input_map is None:
                self._written.add(layer.index)
                self._give_reason(layer, recurrence, "what the input is written along is not known")
            else:
                self._observe(layer, recurrence, valid)

    def finish(self) -> None:
        """Write the layers that were observed at tokens, in their order."""
        for index in sorted({*self._observed, *self._attention}):
            seen = self._observed.get(index) or self._attention[index]
            if seen.tokens == 0:
                message = f"layer {index}: no token was counted"
                hint = f"a longer text, or a larger {named('max_tokens')} or {named('seq_len')}"
                raise AnalysisError(message, hint=hint)
            if isinstance(seen, _Observed):
                seen.write(self.sink, curves=self.options.curves)
            else:
                seen.write(self.sink)

    def _write_fixed(self, layer: Layer, recurrence: Recurrence) -> None:
        options = self.options
        try:
            found = fixed_memory(recurrence, self._delays, options.past, options.precisions)
        except NoMemoryFunctionError as error:
            self._give_reason(layer, recurrence, str(error))
            return
        axis = recurrence.head_axis
        curves = options.curves or axis == "head"
        for precision, function in [("exact", found.exact), *found.rounded.items()]:
            common = labels(layer, recurrence)
            common |= {"precision": precision, "inputs": found.inputs}
            heads = range(len(function.memory))
            write_memory(self.sink, common, function, axis, heads, curves=curves)

    def _give_reason(self, layer: Layer, recurrence: Recurrence, reason: str) -> None:
        write_reason(self.sink, labels(layer, recurrence), recurrence.operator.heads, reason)

    def _observe(self, layer: Layer, recurrence: Recurrence, valid: Tensor) -> None:
        if layer.index not in self._observed:
            count = min(self.options.heads, _MOST_STATES // recurrence.operator.state_size)
            heads = spread(recurrence.operator.heads, max(1, count))
            self._observed[layer.index] = _Observed(layer, recurrence, heads, self._delays)
        seen = self._observed[layer.index]
        part = some_heads(replace(recurrence, output_map=None), seen.heads)
        for sequence, first, t in _positions(valid, self.options.positions):
            seen.add(observed_memories(part, sequence, t, first, self.options.precisions))

    def _see_attention(self, layer: Layer, recurrence: Recurrence, valid: Tensor) -> None:
        read = recurrence.output_map
        scores = read.scores if isinstance(read, ScoreOutput) else None
        if not isinstance(scores, Scores):
            self._written.add(layer.index)
            reason = "the model shows the weights of its attention, not the keys"
            self._give_reason(layer, recurrence, reason)
            return
        if layer.index not in self._attention:
            heads = spread(recurrence.operator.heads, min(self.options.heads, _KERNELS))
            self._attention[layer.index] = _Attention(layer, recurrence, heads)
        seen = self._attention[layer.index]
        for sequence, _, t in _positions(valid, self.options.positions):
            keys = [_keys_read(scores, sequence, head, t) for head in seen.heads]
            ranks = [key_kernel_rank(each, scores.scale) for each in keys]
            seen.sums.add(ranks, len(keys[0]))


class _Observed:
    """A layer whose memory is observed at tokens."""

    def __init__(self, layer: Layer, recurrence: Recurrence, heads: list[int], to: Delays) -> None:
        self.labels: Row = labels(layer, recurrence)
        self.head_axis: HeadAxis = recurrence.head_axis
        self.heads = heads
        self._delays = to
        self._sums: dict[Reading, MemorySamples] = {}

    @property
    def tokens(self) -> int:
        """At which it was observed."""
        return self._sums["exact"].tokens if self._sums else 0

    def add(self, found: Mapping[Reading, np.ndarray]) -> None:
        """MF of each head by delay at one token, exactly and in each precision."""
        for reading, memory in found.items():
            self._of(reading).add(memory)

    def _of(self, reading: Reading) -> MemorySamples:
        return self._sums.setdefault(reading, MemorySamples(len(self.heads), self._delays))

    def write(self, sink: Sink, *, curves: bool) -> None:
        """The mean of the heads, and each; exactly, and in each precision."""
        curves = curves or self.head_axis == "head"
        exact = self._sums["exact"].mean()
        for reading, sums in self._sums.items():
            function = exact if reading == "exact" else sums.mean().rounded(exact.rank)
            samples = [*sums.samples[: len(function.delays)].tolist(), sums.tokens]
            common = self.labels | {"precision": reading, "inputs": 1}
            write_memory(
                sink, common, function, self.head_axis, self.heads, curves=curves, samples=samples
            )


class _Attention:
    """A layer of softmax attention, whose keys are told apart at tokens."""

    def __init__(self, layer: Layer, recurrence: Recurrence, heads: list[int]) -> None:
        self.labels: Row = labels(layer, recurrence)
        self.heads = heads
        self.sums = KeyRanks(len(heads))

    @property
    def tokens(self) -> int:
        """At which it was looked at."""
        return self.sums.tokens

    def write(self, sink: Sink) -> None:
        """The mean of the heads, and each."""
        ranks, keys = self.sums.means()
        write_key_ranks(sink, self.labels, self.heads, ranks, keys, self.sums.tokens)


def _is_fixed(recurrence: Recurrence) -> bool:
    """Whether neither A nor B depends on tokens."""
    write = recurrence.input_map
    return recurrence.mode != "data" and (write is None or isinstance(write, ConstantInput))


def _positions(valid: Tensor, count: int) -> Iterator[tuple[int, int, int]]:
    """Sequence, its first token, and each token to look at: evenly spread, the last one last."""
    for sequence, row in enumerate(valid.cpu().numpy()):
        tokens = np.flatnonzero(row)
        if len(tokens):
            first, length = int(tokens[0]), int(tokens[-1] - tokens[0]) + 1
            ends = np.linspace(0, length, count + 1)[1:].round().astype(int)
            for end in sorted({*ends.tolist()} - {0}):
                yield sequence, first, first + end - 1


def _keys_read(scores: Scores, sequence: int, head: int, t: int) -> Tensor:
    """Of the keys that the query of token `t` can read, `_KEYS`: (n, K)."""
    mask = scores.mask_rows(t, t + 1).expand(
        scores.key.shape[0], scores.query.shape[1], 1, scores.tokens
    )
    group = head * scores.key.shape[1] // scores.query.shape[1]
    readable = mask[sequence, head, 0].isfinite().nonzero().flatten()
    return scores.key[sequence, group][readable[spread(len(readable), _KEYS)]]
