"""Leverage scores: how much of a row no other row can stand in for.

    l_s = x_s^H (X^H X)^+ x_s        rows x_s of X (S, N);  sum_s l_s = rank X

the squared length of row s of any orthonormal basis of X's columns. The rows may differ in size by
more than floating point holds: exp(log_scale_s) is kept apart. Rows sorted by size and columns
pivoted, Householder's decomposition is exact row by row (Cox & Higham 1998), so that what only
small rows have is found among their own rounding, not lost in that of the large. Rows too small to
stand in one matrix with the largest count for the directions that those have left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    from scipy import linalg
else:
    np = lazy_import("numpy")
    linalg = lazy_import("scipy.linalg")

#: Natural logarithm of the largest ratio of two rows in one matrix: squares stay in float64.
_RANGE = 300.0
_ROUNDING = 16 * 2.0**-52


def leverage(rows: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Of each row exp(log_scale_s) rows_s: rows (S, N), log_scale (S,), -inf for a row of zeros.

    Raises FloatingPointError where a row is NaN or infinite.
    """
    rows, size = _normalised(rows, log_scale)
    if not np.isfinite(rows).all() or np.isnan(size).any() or np.isposinf(size).any():
        message = "a column of the transitions' product is NaN or infinite"
        raise FloatingPointError(message)
    scores = np.zeros(len(rows))
    order = np.argsort(-size, kind="stable")
    order = order[size[order] > -np.inf]
    states = rows.shape[1]
    spans = np.empty((states, 0), rows.dtype)
    while len(order):
        near = size[order] >= size[order[0]] - _RANGE
        here, order = order[near], order[~near]
        scale = np.exp(size[here] - size[here[0]])
        basis, triangle = _basis(rows[here], scale, at_most=states - spans.shape[1])
        scores[here] += (np.abs(basis) ** 2).sum(1)
        if not len(order) or spans.shape[1] + len(triangle) == states:
            break
        spans = np.hstack([spans, _span(triangle)])
        rows[order], size[order] = _without(rows[order], size[order], spans)
        order = order[np.argsort(-size[order], kind="stable")]
        order = order[size[order] > -np.inf]
    return scores


def _normalised(rows: np.ndarray, log_scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length one, and the logarithms of what they are to be multiplied with."""
    length = np.linalg.norm(rows, axis=1)
    with np.errstate(divide="ignore"):
        size = log_scale + np.log(length)
    return rows / np.where(length > 0, length, 1)[:, None], size


def _without(
    rows: np.ndarray, log_scale: np.ndarray, spans: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the rows have beside the directions in `spans`, normalised again."""
    for _ in range(2):  # the second time, what rounding left of the first
        rest = rows - (rows @ spans) @ spans.conj().T
        rest[np.linalg.norm(rest, axis=1) <= rows.shape[1] * _ROUNDING] = 0
        rows, log_scale = _normalised(rest, log_scale)
    return rows, log_scale


def _basis(rows: np.ndarray, scale: np.ndarray, *, at_most: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns of scale * rows (S, r), falling in size, and their triangle (r, N).

    Where there may be no more than so many directions, the others are rounding.
    """
    basis, triangle, pivots = linalg.qr(
        scale[:, None] * rows, mode="economic", pivoting=True, check_finite=False
    )
    # A direction is there if some row has more of it than its own rounding.
    part = np.abs(basis) * np.abs(np.diagonal(triangle)) / scale[:, None]
    there = part.max(0) > rows.shape[1] * _ROUNDING
    rank = len(there) if there.all() else int(np.argmin(there))
    rank = min(rank, at_most)
    unpivoted = np.empty_like(triangle[:rank])
    unpivoted[:, pivots] = triangle[:rank]
    return basis[:, :rank], unpivoted


def _span(triangle: np.ndarray) -> np.ndarray:
    """An orthonormal basis of its rows (r, N), as columns."""
    # They differ in size as the rows of X do.
    triangle = triangle / np.abs(triangle).max(1, keepdims=True)
    span: np.ndarray = linalg.qr(triangle.conj().T, mode="economic", check_finite=False)[0]
    return span
