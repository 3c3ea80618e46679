"""Lyapunov exponents of every layer: how fast its state is forgotten over a whole sequence.

Data mode multiplies the transitions of the valid tokens of each sequence, from where its state
starts, and averages the exponents of the sequences; see `spectrakit.dynamics.lyapunov`. A batch of
windows cut from one document is as many sequences. An A that does not depend on tokens, and the
nominal one of weights mode, has log|lambda| and is written when first seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.adding import adding
from spectrakit.analyses.lyapunov.tables import LYAPUNOV
from spectrakit.analyses.sample_size import SEQUENCES, one_sequence
from spectrakit.analyses.spectrum.options import SpectrumOptions
from spectrakit.dynamics import LyapunovExponents, LyapunovSum
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from spectrakit.analyses.base import Request
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import HeadAxis, Recurrence
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")


class Lyapunov:
    """The `lyapunov` analysis.

    Raises UsageError where only the continuous domain is asked for: the exponents are those of
    discrete-time products.
    """

    def __init__(self, sink: Sink, request: Request) -> None:
        if "discrete" not in request.options(SpectrumOptions).domains:
            message = "Lyapunov exponents are of products over tokens: there are no continuous ones"
            hint = f"{given(domain='discrete')}, or other {named('analyses')}"
            raise UsageError(message, hint=hint)
        self.sink = sink
        self._seen: dict[int, _LayerProduct] = {}
        #: Layers whose A is the same for every token: written when first seen.
        self._written: set[int] = set()

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence."""
        if recurrence.mode == "data":
            assert valid is not None  # noqa: S101  (the pipeline's promise in data mode)
            seen = self._seen.setdefault(layer.index, _LayerProduct(layer, recurrence))
            with adding(layer, recurrence, valid):
                starts = valid & ~recurrence.carrying(valid)
                seen.growth.add(recurrence.operator, valid, starts)
        elif layer.index not in self._written:
            self._written.add(layer.index)
            exponents = LyapunovExponents.of_constant(recurrence.eigenvalues())
            self._write(_LayerProduct(layer, recurrence), exponents)

    def finish(self) -> None:
        """Write the exponents of the layers that needed all batches, in their order."""
        for index in sorted(self._seen):
            seen = self._seen[index]
            if seen.growth.tokens == 0:
                message = f"layer {index}: no token has a token before it, so nothing was counted"
                hint = f"a longer text, or a larger {named('max_tokens')} or {named('seq_len')}"
                raise AnalysisError(message, hint=hint)
            self._write(seen, seen.growth.exponents().times(seen.width))

    def warnings(self) -> Iterable[str]:
        """Where there was but one product."""
        counts = [seen.growth.sequences for seen in self._seen.values()]
        return one_sequence("lyapunov", min(counts, default=SEQUENCES))

    def _write(self, of: _LayerProduct, found: LyapunovExponents) -> None:
        columns = of.labels | _positions(of.head_axis, found.exponents.shape)
        columns |= {
            "exponent": found.exponents.flatten().cpu().numpy(),
            "timescale_steps": found.timescale.flatten().cpu().numpy(),
            "multiplicity": found.multiplicity.flatten().cpu().numpy(),
            "tokens": found.tokens,
            "sequences": found.sequences,
            "erased": None if found.tokens is None else found.erased.flatten().cpu().numpy(),
            "last_change": found.change.flatten().cpu().numpy(),
            "sweeps": found.sweeps,
        }
        self.sink.append(LYAPUNOV, LYAPUNOV.table(columns))


class _LayerProduct:
    """One layer: how its rows are labelled, and the growth of its products so far."""

    def __init__(self, layer: Layer, recurrence: Recurrence) -> None:
        self.labels: dict[str, object] = {
            "layer": layer.index,
            "mode": recurrence.mode,
            "gauge": recurrence.gauge,
        }
        self.head_axis = recurrence.head_axis
        self.width = recurrence.width
        self.growth = LyapunovSum()


def _positions(head_axis: HeadAxis, shape: Sequence[int]) -> dict[str, object]:
    """The head, channel and index columns of exponents (H, K)."""
    heads, distinct = shape
    of = np.repeat(np.arange(heads, dtype=np.int32), distinct)
    return {
        "head": of if head_axis == "head" else None,
        "channel": of if head_axis == "channel" else None,
        "index": np.tile(np.arange(distinct, dtype=np.int32), heads),
    }
