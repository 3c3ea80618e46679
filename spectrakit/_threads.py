"""torch on one thread, for work whose pieces are too small to share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: each operation is over before another thread would have woken.

    On a machine that is busy with something else, waiting for the second thread is what costs: a
    layer's sketch was three times slower with two threads than with one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
