"""Singular values of a matrix whose rows differ by many orders of magnitude, each to many digits.

    S = diag(exp(d)) W        W: N x N, well-conditioned; d may span more than floats can

An SVD of S loses every singular value below eps times the largest. One-sided Jacobi rotations do
not: they find each to about eps times the condition of W (Demmel & Veselic 1992; LAPACK's gejsv,
Drmac & Veselic 2008). Rows are sorted first, and W = L Q taken off on the right; what then lies in
rows far below others in size hardly moves the others' singular values, so that a span too wide for
floats is worked through in windows that overlap.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: log of the largest ratio of rows in one window.
_WINDOW = 500.0
#: log of the ratio from which on a row does not move a singular value: by its square, e^-100.
_FAR = 50.0


def log_singular_values(log_scale: Tensor, shape: Tensor, rank: Tensor) -> Tensor:
    """log of the singular values of diag(exp(d)) W, falling: (M, N) in float64.

    log_scale: (M, N), d. shape: (M, N, N), W, real or complex. rank: (M,), how many rows and
    columns of each there are: those beyond give -inf. NaN for a matrix with an entry that is not
    finite.
    """
    found = np.full(log_scale.shape, -math.inf)
    scales, ranks = log_scale.double().cpu().numpy(), rank.tolist()
    for index, (scale, size) in enumerate(zip(scales, ranks, strict=True)):
        found[index, :size] = _of_one(scale[:size], shape[index, :size, :size].cpu().numpy())
    return torch.from_numpy(found).to(log_scale.device)


def _of_one(scale: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Of one matrix of full rank: (N,)."""
    if not np.isfinite(shape).all() or not np.isfinite(scale).all():
        return np.full(len(scale), math.nan)
    if np.iscomplexobj(shape):  # each of a complex matrix is there twice in its real form
        real = np.block([[shape.real, -shape.imag], [shape.imag, shape.real]])
        return _of_one(np.concatenate([scale, scale]), real)[::2]
    length = np.linalg.norm(shape, axis=1)
    order = np.argsort(-(scale + np.log(length)), kind="stable")
    scale, rows = (scale + np.log(length))[order], (shape / length[:, None])[order]
    columns: np.ndarray = np.linalg.qr(rows.T)[1]  # L^T: column i is as long as row i
    found = np.empty(len(scale))
    begin = 0
    while begin < len(scale):
        first = np.searchsorted(-scale, -(scale[begin] + _FAR))
        last = np.searchsorted(-scale, -(scale[begin] - _WINDOW), side="right")
        # What has fewer than `_FAR` of the window's rows below it is for the next window.
        end = np.searchsorted(-scale, -(scale[begin] - _WINDOW + _FAR), side="right")
        if last == len(scale):
            end = last
        values = _in_window(scale[first:last], columns[first:last, first:last])
        found[begin:end] = values[begin - first : end - first]
        begin = end
    falling: np.ndarray = np.sort(found)[::-1]
    return falling


def _in_window(scale: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Of columns (n, n), each to be scaled by exp(scale), whose ratios floats can hold."""
    from scipy.linalg.lapack import dgejsv

    matrix = np.asfortranarray(columns * np.exp(scale - scale[0]))
    # joba 0: as exact as column scaling allows; jobu, jobv 3: no vectors; jobr, jobp 0: nothing
    # small is set to zero.
    values, _, _, scaling, _, info = dgejsv(matrix, joba=0, jobu=3, jobv=3, jobr=0, jobp=0)
    if info != 0:
        return np.full(len(scale), math.nan)
    with np.errstate(divide="ignore"):
        log_values: np.ndarray = np.log(values) + math.log(scaling[0] / scaling[1])
    log_values += scale[0]
    return log_values
