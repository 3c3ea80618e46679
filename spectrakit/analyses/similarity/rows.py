"""The rows of the `similarity` table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np

    from spectrakit.analyses.similarity.estimates import Estimate
    from spectrakit.analyses.similarity.options import SimilarityOptions
else:
    np = lazy_import("numpy")


def similarity_rows(
    estimate: Estimate,
    widths: Sequence[int],
    pairs: tuple[np.ndarray, np.ndarray],
    options: SimilarityOptions,
) -> dict[str, object]:
    """Columns for pairs of feature sets, as indices of both, within what an estimator is of.

    widths: of every set, with all coordinates. `depth` and `other_depth` are the indices
    themselves; sets of two models need others.
    """
    first, second = pairs
    kept = estimate.view.kept
    width = np.array(widths if kept is None else [int(own.sum()) for own in kept])
    return {
        "depth": first,
        "other_depth": second,
        "estimator": estimate.estimator,
        **_values(estimate, first, second),
        "tokens_seen": estimate.view.tokens.seen,
        "token_set": estimate.view.token_set,
        "coordinates": estimate.view.coordinates,
        "width": width[first],
        "other_width": width[second],
        # What the estimator was told.
        **{name: getattr(options, name) for name in estimate.declared.written},
    }


def depth_pairs(depths: int, *, adjacent: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of depths of one model, each once, or only every depth and the next."""
    if adjacent:
        return np.arange(depths - 1), np.arange(1, depths)
    first, second = np.triu_indices(depths)
    return first, second


def _values(estimate: Estimate, first: np.ndarray, second: np.ndarray) -> dict[str, object]:
    """The value, its null and why one of them is missing."""
    found = estimate.alignment
    if found is None:
        return {"tokens": 0, "reason": "too-few-tokens"}
    value, mean, std = (
        part.cpu().numpy()[first, second] for part in (found.value, found.null_mean, found.null_std)
    )
    spread = np.where(std > 0, std, np.nan)
    reason = np.full(len(value), None, dtype=object)
    reason[np.isnan(spread)] = "no-spread"
    reason[np.isnan(mean)] = "no-permutations"
    reason[np.isnan(value)] = "no-variation"
    return {
        "value": value,
        "null_mean": mean,
        "null_std": std,
        "null_z": (value - mean) / spread,
        "tokens": found.tokens,
        "reason": reason.tolist(),
    }
