"""The delays at which a memory function is taken: every one at first, then so many to an octave.

    0, 1, ..., 2 p - 1,  2 p, 2 p + 2, ..., 4 p - 2,  4 p, 4 p + 4, ...        p per octave

Each octave is the previous one doubled, so that the states of its delays follow from those of the
previous by one power of A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class Delays:
    """The delays below `horizon`, `per_octave` to a doubling from 2 `per_octave` on.

    Raises ValueError unless both are positive and `per_octave` is a power of two.
    """

    horizon: int
    per_octave: int = 16

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.per_octave < 1 or self.per_octave.bit_count() != 1:
            message = f"no delays below {self.horizon}, {self.per_octave} per octave"
            raise ValueError(message)

    @property
    def dense(self) -> int:
        """Below this delay there is every one."""
        return 2 * self.per_octave

    @property
    def octaves(self) -> int:
        """Doublings of `dense` that reach the horizon."""
        return max(0, -(-self.horizon // self.dense) - 1).bit_length()

    @property
    def end(self) -> int:
        """Where the last octave ends: `horizon`, or beyond it."""
        return self.dense << self.octaves

    @cached_property
    def all(self) -> Tensor:
        """The delays up to `end`, rising, in int64."""
        octave = torch.arange(self.per_octave, self.dense)
        parts = [octave << k for k in range(1, self.octaves + 1)]
        return torch.cat([torch.arange(self.dense), *parts])

    @property
    def kept(self) -> Tensor:
        """Those below the horizon: (D,)."""
        return self.all[: self.count]

    @property
    def count(self) -> int:
        """D."""
        return int((self.all < self.horizon).sum())
