"""Mamba as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.mixers import Mamba
from spectrakit.training.models.options import Size, SteppedOptions

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class MambaOptions(SteppedOptions):
    """Options of Mamba."""

    expand: Size = Field(2, description="Channels of the layer over the model's width.")
    state_size: Size = Field(16, description="N, states of a channel.")
    step_rank: Size | None = Field(
        None, description="Rank of the projection to the step; width / 16 where left out."
    )
    convolution_width: Size = Field(4, description="Tokens that the short convolution reaches.")


def mixer_of(config: SpectrakitConfig) -> Mamba:
    """Its mixer."""
    options = MambaOptions(**(config.mixer_options or {}))
    width = config.hidden_size
    return Mamba(
        model_width=width,
        channels=options.expand * width,
        state_size=options.state_size,
        step_rank=options.step_rank or math.ceil(width / 16),
        convolution_width=options.convolution_width,
    )
