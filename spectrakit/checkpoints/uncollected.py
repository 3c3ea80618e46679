"""Many objects made at once, without Python's collector looking through them again and again."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection of cycles within this block, where there are none.

    Headers of 100,000 tensors make a million objects that stay: every so many thousand of them the
    collector would go through all, which takes longer than making them.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
