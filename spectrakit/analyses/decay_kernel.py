"""The `kernel` analysis: how strongly a token reaches the outputs after it, by lag.

Eigenvalues of a time-varying layer depend on the gauge of its state; |k(t, s)|, what the input at
token s contributes to the output at token t, does not. It is taken for tokens t spread evenly over
each sequence and every token s before them, and averaged over the pairs of each bin of lags t - s.
Of a layer of channels, which may be thousands, some are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from spectrakit._lazy import lazy_import
from spectrakit.analyses.adding import adding
from spectrakit.dynamics import ConstantOutput, kernel
from spectrakit.dynamics.part import some_heads, spread
from spectrakit.errors import AnalysisError
from spectrakit.tables import DECAY_KERNEL

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.analyses.base import InAll, InGauges, Request
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Recurrence
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Output tokens per sequence whose kernel is taken.
ROWS = 32
#: Channels of a layer whose kernel is taken, spread evenly; heads are all looked at.
CHANNELS = 64
#: Tokens of a layer that needs none: its kernel depends on the lag alone.
HORIZON = 1024
#: Lags up to here have a bin each; beyond, there are so many bins to a doubling.
_SINGLE, _PER_OCTAVE = 16, 8
_BINS = _SINGLE + _PER_OCTAVE * 27  # lags up to 2^31


class DecayKernel:
    """The `kernel` analysis."""

    name: ClassVar[str] = "kernel"
    in_gauges: ClassVar[InGauges] = "usual"
    #: Weights alone tell B and C of few layers.
    in_all: ClassVar[InAll] = "data mode"

    def __init__(self, sink: Sink, request: Request) -> None:  # noqa: ARG002
        self.sink = sink
        self._seen: dict[int, _LayerKernel] = {}

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence; one that has no B and C is left out.

        So is a layer that mixes its channels (S5, LRU): its kernel is a matrix.
        """
        read = recurrence.output_map
        if recurrence.input_map is None or read is None:
            return
        if isinstance(read, ConstantOutput) and read.weight.shape[1] > 1:
            return
        if recurrence.mode == "static" and layer.index in self._seen and valid is None:
            return
        if layer.index not in self._seen:
            self._seen[layer.index] = _LayerKernel(layer, recurrence)
        if recurrence.head_axis == "channel":
            recurrence = some_heads(recurrence, spread(recurrence.operator.heads, CHANNELS))
        with adding(layer, recurrence, valid):
            self._seen[layer.index].add(recurrence, valid)

    def merge(self, other: Self) -> None:
        """Take in what `other` saw of the same model on other tokens."""
        for index, seen in other._seen.items():
            if index in self._seen:
                self._seen[index].merge(seen)
            else:
                self._seen[index] = seen

    def finish(self) -> None:
        """Write the bins of every layer and head.

        Raises AnalysisError where no layer had a kernel.
        """
        if not self._seen:
            message = (
                "no layer has a kernel here: in weights mode B and C are not known (they need "
                "tokens), and layers that mix their channels (S5, LRU) have matrices for kernels"
            )
            raise AnalysisError(message, hint="--mode data")
        for index in sorted(self._seen):
            self._seen[index].write(self.sink)


class _LayerKernel:
    """Sums of one layer over pairs of tokens, by bin of the lag."""

    def __init__(self, layer: Layer, recurrence: Recurrence) -> None:
        self.labels = {
            "layer": layer.index,
            "mode": recurrence.mode,
            "gauge": recurrence.gauge,
        }
        self._per_head = recurrence.head_axis == "head"
        heads = recurrence.operator.heads if self._per_head else 1
        self._kernel = np.zeros((heads, _BINS))
        self._log_decay = np.zeros((heads, _BINS))
        self._pairs = np.zeros(_BINS, np.int64)

    def add(self, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Count the pairs of a batch; valid is None for a layer whose kernel needs no tokens."""
        tokens = HORIZON if valid is None else valid.shape[1]
        times = [HORIZON - 1] if valid is None else _output_tokens(valid)
        if not times:
            return
        rows = kernel.kernel_rows(recurrence, times).abs()  # (B, R, H, S)
        if bool(rows.isnan().any()):
            message = "the kernel is NaN"
            raise FloatingPointError(message)
        log_modulus = kernel.mean_log_modulus(recurrence.operator).double()
        if not self._per_head:
            rows = rows.mean(2, keepdim=True)
            log_modulus = log_modulus.mean(-1, keepdim=True)
        shrunk = _shrunk(recurrence, log_modulus, times, tokens)
        counted = torch.ones(rows.shape[0], tokens, dtype=torch.bool) if valid is None else valid
        counted = counted.to(rows.device)
        for index, t in enumerate(times):
            pairs = counted[:, t, None] & counted[:, : t + 1]  # (B, s)
            bins, first = np.unique(lag_bins(np.arange(t + 1)), return_index=True)
            self._pairs[bins] += np.add.reduceat(pairs.sum(0).flip(-1).cpu().numpy(), first)
            for sums, values in ((self._kernel, rows), (self._log_decay, shrunk)):
                # (B, H, s), summed over the batch where the pair counts.
                # One sequence for all of them where nothing depends on the input.
                here = values[:, index, :, : t + 1].expand(len(counted), -1, -1)
                by_lag = torch.where(pairs[:, None], here, 0.0).sum(0).double().flip(-1)
                sums[:, bins] += np.add.reduceat(by_lag.cpu().numpy(), first, axis=1)

    def merge(self, other: _LayerKernel) -> None:
        """Add another's sums."""
        self._kernel += other._kernel
        self._log_decay += other._log_decay
        self._pairs += other._pairs

    def write(self, sink: Sink) -> None:
        """The mean over heads (head null), and each head."""
        found = np.flatnonzero(self._pairs)
        low, high = lag_edges(found)
        for head in [None, *range(len(self._kernel))] if self._per_head else [None]:
            which = slice(None) if head is None else [head]
            columns = self.labels | {
                "head": head,
                "lag_low": low,
                "lag_high": high,
                "pairs": self._pairs[found],
                "kernel_mean": self._kernel[which][:, found].mean(0) / self._pairs[found],
                "log_decay_mean": self._log_decay[which][:, found].mean(0) / self._pairs[found],
            }
            sink.append(DECAY_KERNEL, DECAY_KERNEL.table(columns, rows=len(found)))


def _output_tokens(valid: Tensor) -> list[int]:
    """Tokens spread evenly over the sequences: a shorter one has as many fewer of them."""
    return [t for t in spread(valid.shape[1], ROWS) if bool(valid[:, t].any())]


def _shrunk(recurrence: Recurrence, each: Tensor, times: Sequence[int], tokens: int) -> Tensor:
    """Sum of the mean log|lambda| (..., H) over the tokens s + 1 ... t: (B, R, H, t + 1)."""
    if recurrence.mode != "data":
        each = each.expand(1, tokens, -1)
    elif recurrence.starts is not None:
        # Nothing is carried into a start, so nothing shrinks there; pairs do not span one.
        each = each.masked_fill(recurrence.starts.unsqueeze(-1), 0.0)
    zeros = (each == -math.inf).cumsum(1)
    total = each.masked_fill(each == -math.inf, 0.0).cumsum(1)
    last = times[-1] + 1
    found = torch.stack([total[:, [t]] - total[:, :last] for t in times], 1)
    lost = torch.stack([zeros[:, [t]] > zeros[:, :last] for t in times], 1)
    return found.masked_fill(lost, -math.inf).transpose(2, 3)


def lag_bins(lags: np.ndarray) -> np.ndarray:
    """The bin of each lag: one each up to 16, then eight to a doubling."""
    beyond = _SINGLE + np.floor(_PER_OCTAVE * np.log2(np.maximum(lags, _SINGLE) / _SINGLE))
    bins: np.ndarray = np.where(lags < _SINGLE, lags, beyond).astype(np.int64)
    return bins


def lag_edges(bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last lag of each bin."""

    def first(bin_: np.ndarray) -> np.ndarray:
        edge = np.ceil(_SINGLE * 2.0 ** ((bin_ - _SINGLE) / _PER_OCTAVE) - 1e-9)
        return np.where(bin_ < _SINGLE, bin_, edge).astype(np.int64)

    return first(bins), first(bins + 1) - 1
