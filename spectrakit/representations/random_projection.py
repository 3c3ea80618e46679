"""States in fewer dimensions, whose inner products are kept on average.

h -> h R,   R (E, E') of independent normal numbers with variance 1 / E'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


def projection(width: int, most: int, seed: int) -> Tensor | None:
    """R (width, most) of float32; None where `width` is no more than `most`."""
    if width <= most:
        return None
    generator = torch.Generator().manual_seed(seed)
    drawn: Tensor = torch.randn(width, most, generator=generator).div_(most**0.5)
    return drawn
