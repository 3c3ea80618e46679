"""One thread, for work whose pieces are too small to share.

Each operation is over before another thread would have woken, and on a machine that is busy with
something else, waiting for the second thread is what costs. torch, and NumPy's and SciPy's linear
algebra, have a pool each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import threadpoolctl
    import torch
    from scipy import linalg
else:
    threadpoolctl = lazy_import("threadpoolctl")
    torch = lazy_import("torch")
    linalg = lazy_import("scipy.linalg")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: a layer's sketch was three times slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep NumPy and SciPy to one thread: a QR of 1024 x 128 between torch's products, 10 times."""
    with _blas_libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas_libraries() -> threadpoolctl.ThreadpoolController:
    linalg.qr  # noqa: B018  (loads SciPy's BLAS, which must be there to be found)
    return threadpoolctl.ThreadpoolController()
