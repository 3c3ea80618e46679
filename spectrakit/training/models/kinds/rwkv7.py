"""RWKV-7 as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.mixers.rwkv7_layer import RWKV7Layer
from spectrakit.training.models.kinds.sizes import head_width
from spectrakit.training.models.options import MixerOptions, Size

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class RWKV7Options(MixerOptions):
    """Options of RWKV-7."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    rank: Size = Field(
        16, description="Rank of what decays, rates of removal and the gate are made by."
    )


def mixer_of(config: SpectrakitConfig) -> RWKV7Layer:
    """RWKV-7's mixer. Raises UsageError where sizes do not fit."""
    options = RWKV7Options(**(config.mixer_options or {}))
    return RWKV7Layer(
        heads=options.heads,
        state_size=head_width(config.hidden_size, options.heads),
        model_width=config.hidden_size,
        decay_rank=options.rank,
        rate_rank=options.rank,
        gate_rank=options.rank,
        value_rank=None,
    )
