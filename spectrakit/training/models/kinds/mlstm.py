"""mLSTM as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.mixers.mlstm_layer import MLSTMLayer
from spectrakit.training.models.kinds.sizes import head_width
from spectrakit.training.models.options import MixerOptions, Size

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class MLSTMOptions(MixerOptions):
    """Options of mLSTM."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    key_width: Size | None = Field(
        None, description="Width of a head's queries and keys; that of its values where left out."
    )
    # The state holds the exponentials of the input gates, in float32: e^30 leaves it room to sum.
    soft_cap: float = Field(15.0, gt=0, le=30, description="The largest gate, before it is one.")


def mixer_of(config: SpectrakitConfig) -> MLSTMLayer:
    """mLSTM's mixer. Raises UsageError where sizes do not fit."""
    options = MLSTMOptions(**(config.mixer_options or {}))
    width = head_width(config.hidden_size, options.heads)
    return MLSTMLayer(
        heads=options.heads,
        state_size=options.key_width or width,
        head_width=width,
        soft_cap=options.soft_cap,
        model_width=config.hidden_size,
    )
