"""How many of the keys of softmax attention are different: the numerical rank of their kernel.

    K_ij = phi(k_i) . phi(k_j) / |phi(k_i)| |phi(k_j)| = exp(-c |k_i - k_j|^2 / 2)

phi is the feature map of exp(c q . k), of infinitely many dimensions: the keys of t tokens span t
of them, and every token is remembered exactly, unless keys coincide. Rank here counts the keys
whose feature of length one is further than `resolution` from the span of those counted before it,
the furthest first (Cholesky's decomposition with pivots; Higham 1990). Our own choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit._threads import one_blas_thread

if TYPE_CHECKING:
    import torch
    from scipy.linalg import lapack
    from torch import Tensor
else:
    torch = lazy_import("torch")
    lapack = lazy_import("scipy.linalg.lapack")

#: Distance at which two features of length one are told apart: a thousandth.
RESOLUTION = 1e-3


def key_kernel_rank(keys: Tensor, scale: float, resolution: float = RESOLUTION) -> int:
    """Of keys (n, K) whose products with queries are multiplied with `scale`.

    Raises FloatingPointError where a key is NaN or infinite.
    """
    keys = keys.double()
    if not bool(keys.isfinite().all()):
        message = "a key is NaN or infinite"
        raise FloatingPointError(message)
    length = keys.square().sum(-1)
    distance = (length.unsqueeze(-1) + length - 2 * keys @ keys.T).clamp(min=0)  # squared
    kernel = torch.exp(-abs(scale) / 2 * distance).cpu().numpy()
    with one_blas_thread():
        return int(lapack.dpstrf(kernel, tol=resolution**2)[2])
