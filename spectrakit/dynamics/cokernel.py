"""What the adjoint of a matrix sends to zero, told from rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


def cokernel(matrices: Tensor) -> Tensor:
    """x with A^* x = 0 to within the rounding of float64, as columns: (..., N, N), the rest zero.

    Rows and columns of A may be of different sizes: they are brought to one first.
    """
    rows = _largest(matrices, -1)
    columns = _largest(matrices / rows, -2)
    axes, values, _ = torch.linalg.svd(matrices / rows / columns)
    rounding = matrices.shape[-1] * torch.finfo(torch.float64).eps
    zero = values <= rounding * values[..., :1]
    found: Tensor = axes / rows * zero.unsqueeze(-2)
    return found


def _largest(matrices: Tensor, axis: int) -> Tensor:
    """The largest modulus along an axis, which stays; 1 where all are zero."""
    largest = matrices.abs().amax(axis, keepdim=True)
    return torch.where(largest > 0, largest, 1)
