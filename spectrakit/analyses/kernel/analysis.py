"""The `kernel` analysis: how strongly a token reaches the outputs after it, by lag.

Eigenvalues of a time-varying layer depend on the gauge of its state; |k(t, s)|, what the input at
token s contributes to the output at token t, does not. It is taken for some outputs t of each
sequence (`output_tokens`) and every token s up to them, and summed over the pairs of each bin of
lags t - s:

    mass(bin) = sum_{t, s: t - s in bin} n_t |k(t, s)| / sum_t n_t

an output's mean sum over the inputs at those lags; n_t is how many outputs t stands for. Bins add
up, to one for softmax attention without learned sinks. A mean over the pairs at each lag would not
add up: there are fewer pairs at long lags.

Left out are each sequence's first output, which has but itself to read, and in rows of their own
the first token as an input, on which attention parks what it has no use for. What learned sinks
take is no input's, and stands apart.

A recurrence whose kernel depends on the lag alone needs no tokens: it is that of the last of
`HORIZON` tokens, and no first token is known.

Of a layer of channels, which may be thousands, some are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.adding import adding
from spectrakit.analyses.kernel.lag_bins import ROWS
from spectrakit.analyses.kernel.output_tokens import OutputTokens
from spectrakit.analyses.kernel.sums import KernelSums, lag_within
from spectrakit.analyses.kernel.tables import DECAY_KERNEL, DECAY_KERNEL_SUMMARY
from spectrakit.dynamics import ConstantOutput, kernel
from spectrakit.dynamics.maps import unscaled
from spectrakit.dynamics.part import some_heads, spread
from spectrakit.errors import AnalysisError
from spectrakit.mixers.softmax_attention import ScoreOutput
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.analyses.base import Request
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Recurrence
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Channels of a layer whose kernel is taken, spread evenly; heads are all looked at.
CHANNELS = 64
#: Tokens of a layer that needs none: its kernel depends on the lag alone.
HORIZON = 1024


class DecayKernel:
    """The `kernel` analysis."""

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

    def finish(self) -> None:
        """Write the bins of every layer and head.

        Raises AnalysisError where no layer had a kernel, or one had no output.
        """
        if not self._seen:
            message = (
                "no layer has a kernel here: in weights mode B and C are not known (they need "
                "tokens), and layers that mix their channels (S5, LRU) have matrices for kernels"
            )
            raise AnalysisError(message, hint=given(mode="data"))
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
        #: Of pairs whose input is a sequence's first token, and of all others.
        self._first, self._others = KernelSums(heads), KernelSums(heads)
        #: Outputs that those which were looked at stand for.
        self._outputs = 0
        #: What learned sinks take of the weights of these outputs: (H,).
        self._sunk = np.zeros(heads)
        self._has_first = False
        self._is_softmax = isinstance(unscaled(recurrence.output_map), ScoreOutput)

    def add(self, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Count the pairs of a batch; valid is None for a layer whose kernel needs no tokens."""
        if valid is None:
            self._outputs += 1
            only = torch.ones(1, HORIZON, dtype=torch.bool)
            outputs = OutputTokens([HORIZON - 1], np.ones((1, 1), np.int64), np.full(1, -1))
        else:
            self._has_first = True
            only = valid
            outputs = OutputTokens.of(valid)
            self._outputs += int(outputs.stands_for.sum())
        if not outputs.times:
            return
        rows = kernel.kernel_rows(recurrence, outputs.times).abs()  # (B, R, H, S)
        if bool(rows.isnan().any()):
            message = "the kernel is NaN"
            raise FloatingPointError(message)
        log_modulus = kernel.mean_log_modulus(recurrence.operator).double()
        if not self._per_head:
            rows = rows.mean(2, keepdim=True)
            log_modulus = log_modulus.mean(-1, keepdim=True)
        shrunk = _shrunk(recurrence, log_modulus, outputs.times, only.shape[1])
        self._add_pairs(rows, shrunk, only.to(rows.device), outputs)
        self._add_sinks(recurrence, outputs)

    def _add_pairs(
        self, rows: Tensor, shrunk: Tensor, valid: Tensor, outputs: OutputTokens
    ) -> None:
        stands_for = torch.as_tensor(outputs.stands_for, device=rows.device).double()
        tokens = torch.arange(valid.shape[1], device=rows.device)
        is_first = tokens == torch.as_tensor(outputs.first, device=rows.device)[:, None]
        for index, t in enumerate(outputs.times):
            weights = stands_for[:, index]
            pairs = (valid & (weights > 0)[:, None])[:, : t + 1]  # (B, s)
            # One sequence for all of them where nothing depends on the input.
            here = [
                each[:, index, :, : t + 1].expand(len(valid), -1, -1) for each in (rows, shrunk)
            ]
            self._others.add(pairs & ~is_first[:, : t + 1], weights, *here)
            self._first.add(pairs & is_first[:, : t + 1], weights, *here)

    def _add_sinks(self, recurrence: Recurrence, outputs: OutputTokens) -> None:
        """exp(sink) / nu_t, the share of the normaliser nu_t that no input has."""
        read, log_normaliser = unscaled(recurrence.output_map), recurrence.log_normaliser
        sinks = getattr(read.scores, "sinks", None) if isinstance(read, ScoreOutput) else None
        if sinks is None or log_normaliser is None:
            return
        share = torch.exp(sinks.to(log_normaliser) - log_normaliser[:, outputs.times])  # (B, R, H)
        weights = torch.as_tensor(outputs.stands_for).to(share)
        # Where padding reads nothing at all there is a sink alone; it stands for no output.
        self._sunk += torch.einsum("br,brh->h", weights, share.nan_to_num()).cpu().numpy()

    def write(self, sink: Sink) -> None:
        """The mean over heads (head null), and each head; with and without the first token."""
        if not self._outputs:
            message = f"layer {self.labels['layer']}: no output has a token before it"
            raise AnalysisError(message, hint=f"a longer text, or {named('seq_len')} of 2 or more")
        for token_set, sums in self._sets():
            rows = sums.in_rows()
            for head in [None, *range(len(sums.kernel))] if self._per_head else [None]:
                common = self.labels | {"head": head, "token_set": token_set}
                columns = common | self._by_lag(rows, head)
                sink.append(DECAY_KERNEL, DECAY_KERNEL.table(columns))
                columns = common | self._summary(sums, head)
                sink.append(DECAY_KERNEL_SUMMARY, DECAY_KERNEL_SUMMARY.table(columns, rows=1))

    def _sets(self) -> Iterator[tuple[str, KernelSums]]:
        """The sums of each `token_set`."""
        yield "all", self._first.plus(self._others)
        if self._has_first:
            yield "without_first", self._others

    def _by_lag(self, rows: KernelSums, head: int | None) -> dict[str, object]:
        """Columns of `decay_kernel`, of one head or the mean of all."""
        found = np.flatnonzero(rows.pairs)
        summed = _of_head(rows.kernel, head)[found]
        return {
            "lag_low": ROWS.first(found),
            "lag_high": ROWS.last(found),
            "pairs": rows.pairs[found],
            "mass": summed / self._outputs,
            "kernel_mean": summed / rows.weight[found],
            "log_decay_mean": _of_head(rows.log_decay, head)[found] / rows.weight[found],
        }

    def _summary(self, sums: KernelSums, head: int | None) -> dict[str, object]:
        """The row of `decay_kernel_summary`, of one head or the mean of all."""
        mass = _of_head(sums.kernel, head) / self._outputs
        of_first = _of_head(self._first.kernel, head).sum() / self._outputs
        whole = of_first + _of_head(self._others.kernel, head).sum() / self._outputs
        sunk = float(_of_head(self._sunk[:, None], head)[0]) / self._outputs
        return {
            "outputs": self._outputs if self._has_first else None,
            "mass": float(mass.sum()),
            "mass_lag_0": float(mass[:1].sum()),
            "mass_lag_1": float(mass[1:2].sum()),
            "lag_50": lag_within(mass, 0.5),
            "lag_90": lag_within(mass, 0.9),
            "first_token_share": float(of_first / whole) if self._has_first and whole > 0 else None,
            "learned_sink_share": sunk if self._is_softmax else None,
        }


def _of_head(sums: np.ndarray, head: int | None) -> np.ndarray:
    """Those of a head of (H, ...), or their mean."""
    found: np.ndarray = sums.mean(0) if head is None else sums[head]
    return found


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
