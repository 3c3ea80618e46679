"""S4 as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.mixers import S4
from spectrakit.mixers.s4_parameters import S4Parameters
from spectrakit.training.models.options import Size, SteppedOptions

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class S4Options(SteppedOptions):
    """Options of S4."""

    state_size: Size = Field(
        64, description="N, real dimensions of a channel's state: N / 2 complex numbers."
    )


def mixer_of(config: SpectrakitConfig) -> S4:
    """Its mixer; the kernel is as long as the config's longest sequence."""
    options = S4Options(**(config.mixer_options or {}))
    channels, half = config.hidden_size, -(-options.state_size // 2)
    shapes = {
        "A_real": (channels, half),
        "A_imag": (channels, half),
        "step": (channels, 1),
        "P": (1, channels, half, 2),
        "B": (channels, half, 2),
        "C": (1, channels, half, 2),
        "D": (channels,),
    }
    return S4(S4Parameters(shapes), kernel_length=config.max_position_embeddings)
