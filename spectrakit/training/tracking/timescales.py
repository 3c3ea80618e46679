"""Timescales in bins of a tenth of a decade: what can be added, and drawn over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from spectrakit.dynamics import DiscreteEigenvalues
    from spectrakit.training.tracking.gradients import EigenvalueGradients

#: Bins of a decade, and the decades that have some: from .01 to 10^8 steps.
PER_DECADE, FIRST, LAST = 10, -2, 8
_EDGES = 10.0 ** (np.arange(FIRST * PER_DECADE, LAST * PER_DECADE + 1) / PER_DECADE)
#: With what lies below and above.
EDGES = np.concatenate([[0.0], _EDGES, [np.inf]])


def bins_of(decay_rate: np.ndarray) -> np.ndarray:
    """The number of each eigenvalue's bin; |lambda| >= 1 never decays, and is in the last."""
    with np.errstate(divide="ignore", over="ignore"):
        timescale = np.where(decay_rate > 0, 1 / decay_rate, np.inf)
    return np.searchsorted(_EDGES, timescale, side="right")


def histogram(
    eigenvalues: DiscreteEigenvalues, gradients: EigenvalueGradients | None
) -> dict[str, Any]:
    """The bins that are not empty, as columns of `training_timescales`."""
    rates = eigenvalues.decay_rate.detach().double().flatten().cpu().numpy()
    copies = np.tile(eigenvalues.multiplicities, rates.size // len(eigenvalues.multiplicities))
    counts = np.bincount(bins_of(rates), weights=copies, minlength=len(EDGES) - 1)
    norms: Any = None
    filled = np.flatnonzero(counts)
    if gradients is not None:
        places = bins_of(gradients.decay_rate.flatten().cpu().numpy())
        squares = gradients.size.flatten().square().cpu().numpy()
        sums = np.bincount(places, weights=squares, minlength=len(EDGES) - 1)
        # An eigenvalue on an edge may be rounded to either side.
        norms = np.sqrt(sums[filled])
    return {
        "timescale_low": EDGES[filled],
        "timescale_high": EDGES[filled + 1],
        "count": counts[filled].astype(np.int64),
        "gradient_norm": norms,
    }
