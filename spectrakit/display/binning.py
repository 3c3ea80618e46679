"""Counts of eigenvalues in the cells of a picture: a few thousand numbers from any run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spectrakit.tables.distribution import Floats

Records: TypeAlias = "list[dict[str, Any]]"


def counted(coordinates: Sequence[NDArray[Any]], weights: Floats) -> tuple[NDArray[Any], Floats]:
    """The distinct points, (coordinates, n), and the sum of the weights at each."""
    points, index = np.unique(np.stack(coordinates), axis=1, return_inverse=True)
    sums: Floats = np.bincount(index.ravel(), weights, points.shape[1]).astype(np.float64)
    return points, sums


def records(**columns: Floats) -> Records:
    """Rows for a chart, rounded to what a picture can show."""
    rounded = ([float(f"{value:.7g}") for value in values] for values in columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*rounded, strict=True)]
