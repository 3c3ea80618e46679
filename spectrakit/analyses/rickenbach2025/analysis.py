"""Bin percentages as the released analysis of arXiv 2510.09379 counts them.

Radius bins [0,.1] [.1,.5] [.5,.9] [.9,1] [1,10] [10,100] (100,inf) and phase bins [0,1] [1,10]
[10,45] [45,90] [90,180] (180,inf) in degrees, of signed phases: an eigenvalue on an inner edge is
counted twice and a negative phase not at all. Percentages are of the time steps of one sequence and
head, then averaged over sequences. For a layer of channels whose A is constant (S4) they are of the
eigenvalues of channel 1 alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.rickenbach2025.tables import RELEASED_BINS
from spectrakit.errors import AnalysisError
from spectrakit.wording import given

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.analyses.base import Request
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import DiscreteEigenvalues, Recurrence
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

RADIUS = (0.0, 0.1, 0.5, 0.9, 1.0, 10.0, 100.0, math.inf)
PHASE = (0.0, 1.0, 10.0, 45.0, 90.0, 180.0, math.inf)
#: The channel of S4 that the released code looks at.
_CHANNEL = 1


class Rickenbach2025:
    """The `rickenbach2025` analysis; `--compat rickenbach2025` adds it."""

    def __init__(self, sink: Sink, request: Request) -> None:  # noqa: ARG002
        self.sink = sink
        self._seen: dict[int, _Percentages] = {}

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence; one at a nominal step is not in the paper."""
        if recurrence.mode == "nominal":
            return
        seen = self._seen.setdefault(layer.index, _Percentages())
        eigenvalues = recurrence.eigenvalues()
        if recurrence.mode == "static":
            if recurrence.head_axis == "channel":
                eigenvalues = eigenvalues.head(min(_CHANNEL, recurrence.operator.heads - 1))
            seen.add(*_by_head(eigenvalues, None))
            return
        assert valid is not None  # noqa: S101  (the pipeline's promise in data mode)
        if recurrence.starts is not None:
            valid = valid & ~recurrence.starts
        for sequence, steps in enumerate(valid):
            if bool(steps.any()):
                seen.add(*_by_head(eigenvalues, (sequence, steps)))

    def finish(self) -> None:
        """Write the percentages of every layer and head.

        Raises AnalysisError where nothing was seen that the paper analyses.
        """
        if not self._seen:
            message = "no layer seen here is one that arXiv 2510.09379 analyses"
            raise AnalysisError(message, hint=given(compat="rickenbach2025", mode="data"))
        for index, seen in sorted(self._seen.items()):
            seen.write(index, self.sink)


class _Percentages:
    """Sums over sequences of the percentages of one layer, by head and bin."""

    def __init__(self) -> None:
        self.sequences = 0
        self._sums: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, modulus: np.ndarray, degrees: np.ndarray) -> None:
        """Count one sequence: |lambda| and signed phases, (heads, n)."""
        percent = np.concatenate([_percent(modulus, RADIUS), _percent(degrees, PHASE)], axis=1)
        self.sequences += 1
        self._sums = self._sums + percent
        self._squares = self._squares + percent**2

    def write(self, layer: int, sink: Sink) -> None:
        """One row per head and bin."""
        mean = self._sums / self.sequences
        variance = self._squares / self.sequences - mean**2
        assert isinstance(mean, np.ndarray)  # noqa: S101  (at least one sequence was added)
        bins = [("modulus", *edges) for edges in pairwise(RADIUS)]
        bins += [("phase_deg", *edges) for edges in pairwise(PHASE)]
        heads = len(mean)
        columns = {
            "layer": layer,
            "head": np.repeat(np.arange(heads), len(bins)),
            "of": [of for of, _, _ in bins] * heads,
            "low": [low for _, low, _ in bins] * heads,
            "high": [high for _, _, high in bins] * heads,
            "mean_percent": mean.flatten(),
            "std_percent": np.sqrt(np.maximum(variance, 0.0)).flatten(),
            "sequences": self.sequences,
        }
        sink.append(RELEASED_BINS, RELEASED_BINS.table(columns))


def _by_head(
    eigenvalues: DiscreteEigenvalues, which: tuple[int, Tensor] | None
) -> tuple[np.ndarray, np.ndarray]:
    """|lambda| and phase in degrees, (heads, n): of all, or of some steps of one sequence."""
    modulus = eigenvalues.modulus
    phase = torch.zeros_like(modulus) if eigenvalues.phase is None else eigenvalues.phase
    found = []
    for values in (modulus, phase):
        picked = values.unsqueeze(0) if which is None else values[which]  # (n, H, K)
        by_head = picked.transpose(0, 1).flatten(1)
        found.append(by_head.double().cpu().numpy())
    return found[0], np.degrees(found[1])


def _percent(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Percent of values (heads, n) in each bin, its edges included: (heads, bins)."""
    inside = [
        (values > low) if math.isinf(high) else (values >= low) & (values <= high)
        for low, high in pairwise(edges)
    ]
    percent: np.ndarray = 100 * np.stack(inside, axis=1).mean(-1)
    return percent
