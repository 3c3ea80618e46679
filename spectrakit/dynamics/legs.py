"""HiPPO-LegS, the matrix that S4 and the layers after it are initialised with.

    A_nk = -sqrt((2 n + 1)(2 k + 1)) for n > k, -(n + 1) for n = k, 0 above; B_n = sqrt(2 n + 1)

With P = B / sqrt(2), A + P P^T = -1/2 + S with S skew-symmetric: S = V diag(i w) V^*, V unitary,
and in the coordinates of V, A is diag(-1/2 + i w) - (V^* P)(V^* P)^*: diagonal plus low rank.
(Gu et al. 2020, arXiv 2008.07669; Gu et al. 2022, arXiv 2111.00396, theorem 1.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


def legs(size: int) -> tuple[Tensor, Tensor]:
    """A (N, N) and B (N,) in continuous time, in float64."""
    number = torch.arange(size, dtype=torch.float64)
    root = (2 * number + 1).sqrt()
    return -(root.unsqueeze(-1) * root).tril(-1) - torch.diag(number + 1), root


def legs_modes(size: int) -> tuple[Tensor, Tensor]:
    """The frequencies w (N,), ascending, and V (N, N) of S, in float64.

    The phase of each column of V, which is free, is such that V^* P is positive; w is odd under
    reversal, so that the first half has the modes whose conjugates are in the other.
    """
    generator, root = legs(size)
    low_rank = root / 2**0.5
    skew = generator + low_rank.unsqueeze(-1) * low_rank + 0.5 * torch.eye(size)
    frequency, vectors = torch.linalg.eigh(-1j * skew)
    projected = vectors.mH @ low_rank.to(vectors)
    return frequency, vectors * (projected / projected.abs())
