"""What the adjoint of a matrix sends to zero, told from rounding.

An erasure that is multiplied out, a (I - b k k^T) with b |k|^2 = 1, is not singular in floating
point. With u = eps / 2, to first order and relative to a, its smallest singular value is off by

    |b |k|^2 - 1|      (N + 5) u    |x| by (N / 2 + 1) u, an entry of k = x / |x| by u more, and b
    |fl(b k k^T)|      2 u          two products an entry, of the norm b |k| |k|^T has
    |fl(I - ...)|      2 u          one rounding an entry: | |A| | <= |I| + | |k| |k|^T | = 2
    |fl(a ...)|        4 u          two roundings an entry, of exp and of the product
    the decomposition  N u          a backward stable one, in practice (LAPACK Users' Guide, 4.9)

(2 N + 13) u in all, which is (N + 6.5) eps. The largest singular value is a, where N > 1. What is
below is zero, and what is above is taken as it is. A matrix whose only state is erased has nothing
to be compared with: it is zero where it is exactly so.

Rows or columns can be small as a whole, where states decay by different factors. Where numbers
near 1 cancel, zero is left or at least eps / 2: a row or column that has less than half of that in
all of its entries is no such remainder, and is brought to the size of the others first. (It is one
in an erasure whose key is off an axis by less than a rounding, which is not found.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Of the smallest singular value of an erasure of N states, in eps, less N; see the module.
_ROUNDINGS = 6.5


def cokernel(matrices: Tensor) -> Tensor:
    """x with A^* x = 0 to within rounding, as columns: (..., N, N), the others zero.

    matrices: (..., N, N) in float64 or complex128. None of the columns is a combination of others.
    """
    largest = matrices.abs().amax((-2, -1), keepdim=True)
    rows = _too_small(matrices, -1, largest)
    columns = _too_small(matrices / rows, -2, largest)
    axes, values, _ = torch.linalg.svd(matrices / rows / columns)
    rounding = (matrices.shape[-1] + _ROUNDINGS) * torch.finfo(torch.float64).eps
    zero = values <= rounding * values[..., :1]
    found: Tensor = axes / rows * zero.unsqueeze(-2)
    return found


def _too_small(matrices: Tensor, axis: int, largest: Tensor) -> Tensor:
    """The factors by which all entries along an axis are too small to be rounding, others 1."""
    here = matrices.abs().amax(axis, keepdim=True)
    small = (here > 0) & (here < torch.finfo(torch.float64).eps / 4 * largest)
    return torch.where(small, here / largest, 1)
