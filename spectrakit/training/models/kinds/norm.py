"""Norm attention as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from spectrakit.mixers import NormAttention
from spectrakit.training.models.kinds.sizes import head_width
from spectrakit.training.models.options import MixerOptions, Size

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class NormOptions(MixerOptions):
    """Options of norm attention."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    key_width: Size | None = Field(
        None, description="Width of a head's queries and keys; that of its values where left out."
    )
    norm_function: Literal["exp", "elu", "softplus", "sigmoid"] = Field(
        "softplus", description="f of the normaliser exp(f(W x + offset))."
    )


def mixer_of(config: SpectrakitConfig) -> NormAttention:
    """Its mixer. Raises UsageError where sizes do not fit."""
    options = NormOptions(**(config.mixer_options or {}))
    width = head_width(config.hidden_size, options.heads)
    keys = options.key_width or width
    return NormAttention(config.hidden_size, options.heads, keys, width, options.norm_function)
