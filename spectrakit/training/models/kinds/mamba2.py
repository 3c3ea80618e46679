"""Mamba-2 as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.mixers import Mamba2
from spectrakit.mixers.pseudo_lti import PseudoLTIMamba2
from spectrakit.training.models.kinds.sizes import head_width
from spectrakit.training.models.options import Size, SteppedOptions

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class Mamba2Options(SteppedOptions):
    """Options of Mamba-2."""

    expand: Size = Field(2, description="Channels of the layer over the model's width.")
    heads: Size = Field(4, description="Heads, which divide the channels.")
    state_size: Size = Field(64, description="N, states of a head.")
    convolution_width: Size = Field(4, description="Tokens that the short convolution reaches.")
    pseudo_lti: bool = Field(
        False, description="Whether the decay of a head is fixed, and only the input is selected."
    )


def mixer_of(config: SpectrakitConfig) -> Mamba2:
    """Its mixer, pseudo-LTI where asked for. Raises UsageError where sizes do not fit."""
    options = Mamba2Options(**(config.mixer_options or {}))
    kind = PseudoLTIMamba2 if options.pseudo_lti else Mamba2
    return kind(
        model_width=config.hidden_size,
        heads=options.heads,
        head_width=head_width(options.expand * config.hidden_size, options.heads),
        state_size=options.state_size,
        convolution_width=options.convolution_width,
    )
