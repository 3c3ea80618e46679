"""Linear attention as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from spectrakit.mixers import LinearAttention
from spectrakit.training.models.kinds.sizes import head_width
from spectrakit.training.models.options import MixerOptions, Size

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class LinearOptions(MixerOptions):
    """Options of linear attention."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    key_width: Size | None = Field(
        None, description="Width of a head's queries and keys; that of its values where left out."
    )
    feature_map: Literal["elu", "relu", "softmax"] = Field(
        "elu", description="What makes keys and queries positive; elu is elu(x) + 1."
    )


def mixer_of(config: SpectrakitConfig) -> LinearAttention:
    """Its mixer. Raises UsageError where sizes do not fit."""
    options = LinearOptions(**(config.mixer_options or {}))
    width = head_width(config.hidden_size, options.heads)
    keys = options.key_width or width
    return LinearAttention(config.hidden_size, options.heads, keys, width, options.feature_map)
