"""S5 as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.errors import UsageError
from spectrakit.mixers import S5
from spectrakit.training.models.options import Size, SteppedOptions

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class S5Options(SteppedOptions):
    """Options of S5."""

    state_size: Size = Field(
        64, description="N, real dimensions of the state that all channels share: N / 2 pairs."
    )
    blocks: Size = Field(1, description="How many HiPPO matrices the state starts with.")


def mixer_of(config: SpectrakitConfig) -> S5:
    """Its mixer: pairs of conjugates, zero-order hold, Re Lambda below 0.

    Raises UsageError where the states do not make the blocks.
    """
    options = S5Options(**(config.mixer_options or {}))
    if options.state_size % (2 * options.blocks):
        message = f"{options.state_size} states are not {options.blocks} blocks of pairs"
        raise UsageError(message, hint=f"state_size = {2 * options.blocks} times a whole number")
    return S5(
        config.hidden_size,
        options.state_size // 2,
        discretisation="zoh",
        conjugate_symmetry=True,
        clipped=True,
    )
