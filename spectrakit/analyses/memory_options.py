"""What the `memory` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from spectrakit.dynamics.memory_function import AskedPast
    from spectrakit.dynamics.rounded_memory import Precision

PASTS = ("infinite", "horizon")
PRECISIONS = ("bfloat16", "float16", "float32")
_LONGEST = 1 << 40


@dataclass(frozen=True)
class MemoryOptions:
    """horizon: delays are taken below it. per_octave: how many to a doubling, a power of two; below
    twice as many there is every one. past: "infinite", or "horizon" for inputs of the last
    `horizon` tokens only. precisions: types of a stored state whose rounding is looked at besides.

    positions: tokens of each sequence at which a time-varying memory is taken, spread evenly, the
    last one among them. heads: how many heads or channels of a layer are looked at there, spread
    evenly; fewer where their states are large. curves: whether `memory_function` holds every
    channel's curve besides the mean of the layer's.
    """

    horizon: int = 1 << 16
    per_octave: int = 16
    past: AskedPast = "infinite"
    precisions: tuple[Precision, ...] = ("bfloat16", "float16", "float32")
    positions: int = 2
    heads: int = 8
    curves: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for what means nothing."""
        if not 1 <= self.horizon <= _LONGEST:
            message = f"a horizon of {self.horizon} delays: from 1 to 2^40"
            raise UsageError(message)
        if self.per_octave < 1 or self.per_octave.bit_count() != 1:
            message = f"{self.per_octave} delays per octave: a power of two"
            raise UsageError(message)
        if self.past not in PASTS:
            raise UsageError(f"{self.past!r} is no past", hint=" or ".join(PASTS))
        for precision in self.precisions:
            if precision not in PRECISIONS:
                raise UsageError(f"{precision!r} is no precision", hint=", ".join(PRECISIONS))
        if self.positions < 1 or self.heads < 1:
            raise UsageError("memory at no position or of no head is nothing to look at")
