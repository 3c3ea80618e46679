"""S4D as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.mixers import S4D
from spectrakit.mixers.s4_parameters import S4Parameters
from spectrakit.training.models.options import Size, SteppedOptions

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class S4DOptions(SteppedOptions):
    """Options of S4D."""

    state_size: Size = Field(
        64, description="N, real dimensions of a channel's state: N / 2 complex numbers, or N real."
    )
    real: bool = Field(False, description="Whether A is real, and stays so: S4D-Real.")


def mixer_of(config: SpectrakitConfig) -> S4D:
    """Its mixer: B = 1, zero-order hold."""
    options = S4DOptions(**(config.mixer_options or {}))
    channels = config.hidden_size
    states = options.state_size if options.real else -(-options.state_size // 2)
    shapes = {"A_real": (channels, states), "step": (channels,), "D": (channels,)}
    if options.real:
        shapes["C"] = (1, channels, states)
    else:
        shapes |= {"A_imag": (channels, states), "C": (1, channels, states, 2)}
    return S4D(S4Parameters(shapes, sign=1), "zoh")
