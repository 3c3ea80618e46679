"""What the `memory` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from spectrakit.errors import UsageError
from spectrakit.options import Help, Options, option
from spectrakit.wording import given, named

#: Types of a stored state; see `spectrakit.dynamics.rounded_memory`.
Precision: TypeAlias = Literal["bfloat16", "float16", "float32"]


@dataclass(frozen=True)
class MemoryOptions(Options):
    """horizon: delays are taken below it. past: "infinite", or "horizon" for inputs of the last
    `horizon` tokens only. curves: whether `memory_function` holds every channel's curve besides the
    mean of the layer's. per_octave: delays to a doubling, a power of two; below twice as many there
    is every one. precisions: types of a stored state whose rounding is looked at besides.

    positions: tokens of each sequence at which a time-varying memory is taken, spread evenly, the
    last one among them. heads: how many heads or channels of a layer are looked at there, spread
    evenly; fewer where their states are large.
    """

    group: ClassVar[str] = "memory"

    horizon: int = option(
        1 << 16,
        "Memory is computed for delays below this one.",
        flag="horizon",
        at_least=1,
        at_most=1 << 40,
    )
    past: Literal["infinite", "horizon"] = option(
        "infinite",
        "Inputs that memory is about: all there ever were, or the last HORIZON.",
        flag="past",
    )
    curves: bool = option(
        False, "Write every channel's memory function, not the mean alone.", flag="all_curves"
    )
    per_octave: int = option(
        16, "Delays to a doubling, a power of two: how finely memory is sampled.", at_least=1
    )
    precisions: tuple[Precision, ...] = option(
        ("bfloat16", "float16", "float32"),
        Help(
            "Types of a stored state in which memory is computed, besides exactly; or none.",
            unset="none",
        ),
    )
    positions: int = option(
        2, "Tokens of a sequence at which an observed memory is taken.", at_least=1
    )
    heads: int = option(
        8, "Heads or channels of a layer whose memory is observed, at most.", at_least=1
    )

    def __post_init__(self) -> None:
        """Raises UsageError for what means nothing."""
        super().__post_init__()
        if self.per_octave.bit_count() != 1:
            message = f"{named('memory_per_octave')} must be a power of two, not {self.per_octave}"
            raise UsageError(message, hint=given(memory_per_octave=16))
