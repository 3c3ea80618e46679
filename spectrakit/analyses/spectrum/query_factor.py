"""What eigenvalues in gauge dsf have over those in gauge retained: the query factor, per head.

    lambda_dsf = (nu_{t-1} / what nu_t has from before t) lambda_retained

The first factor tells how loud the scores of two queries are beside each other. Means of logarithms
and quantiles are kept, so that batches add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.spectrum.sketch import DecaySketch
from spectrakit.analyses.spectrum.summary import summarise_sketch
from spectrakit.tables.schemas import quantile_names

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.dynamics import Recurrence
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


class QueryFactor:
    """Sums over the tokens of one layer of H `heads`."""

    def __init__(self, heads: int) -> None:
        #: Of log lambda in gauge dsf and in gauge retained, and of the log of the factor.
        self._sums = np.zeros((3, heads))
        self._counts = np.zeros((2, heads), np.int64)  # of those, and of those left out
        self._sketches = [DecaySketch() for _ in range(heads)]

    def add(self, recurrence: Recurrence, valid: Tensor) -> None:
        """Take in the valid tokens (B, T) of a recurrence that has a retained gauge."""
        factor, retained = recurrence.log_query_factor, recurrence.log_retained
        assert factor is not None and retained is not None  # noqa: S101, PT018  (the caller's)
        factor, retained = factor[valid], retained[valid]  # (n, H)
        counted = factor.isfinite() & retained.isfinite()
        parts = torch.stack([factor + retained, retained, factor])
        self._sums += parts.masked_fill(~counted, 0).sum(1).double().cpu().numpy()
        self._counts += torch.stack([counted.sum(0), (~counted).sum(0)]).cpu().numpy()
        for head, sketch in enumerate(self._sketches):
            sketch.add(factor[counted[:, head], head].unsqueeze(-1))

    def columns(self) -> dict[str, object]:
        """Columns of `query_factor`, but the layer: the whole of it first, then each head."""
        whole = DecaySketch()
        for sketch in self._sketches:
            whole.merge(sketch)
        sums, counts = (
            np.concatenate([part.sum(1, keepdims=True), part], axis=1)
            for part in (self._sums, self._counts)
        )
        with np.errstate(invalid="ignore"):
            means = np.where(counts[0] > 0, sums / counts[0], np.nan)
        columns: dict[str, object] = {
            "head": [None, *range(len(self._sketches))],
            "count": counts[0],
            "left_out": counts[1],
            "mean_log_dsf": means[0],
            "mean_log_retained": means[1],
            "mean_log_query_factor": means[2],
        }
        # The sketch's decay rates are the logarithms here.
        quantiles = [_quantiles(sketch) for sketch in (whole, *self._sketches)]
        for name, values in zip(
            quantile_names("log_query_factor"), zip(*quantiles, strict=True), strict=True
        ):
            columns[name] = np.array(values)
        return columns


def _quantiles(sketch: DecaySketch) -> list[float]:
    names = quantile_names("decay_rate")
    if sketch.is_empty:
        return [float("nan")] * len(names)
    found = summarise_sketch(sketch)
    return [float(np.asarray(found[name])[0]) for name in names]
