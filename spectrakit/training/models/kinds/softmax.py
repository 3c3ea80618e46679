"""Softmax attention as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.errors import UsageError
from spectrakit.mixers.convolved_attention import ConvolvedAttention, Rotary
from spectrakit.training.models.kinds.sizes import head_width
from spectrakit.training.models.options import MixerOptions, Size

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class SoftmaxOptions(MixerOptions):
    """Options of softmax attention."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    groups: Size | None = Field(
        None, description="Heads of keys and values, which divide `heads`; as many if left out."
    )


def mixer_of(config: SpectrakitConfig) -> ConvolvedAttention:
    """Its mixer. Raises UsageError where sizes do not fit."""
    options = SoftmaxOptions(**(config.mixer_options or {}))
    width = head_width(config.hidden_size, options.heads)
    groups = options.groups or options.heads
    if options.heads % groups:
        message = f"{groups} groups do not divide {options.heads} heads"
        raise UsageError(message, hint=f"groups = {options.heads}, or 1")
    if config.positions == "rope" and width % 2:
        message = f"rotary embeddings turn pairs of channels, and heads are {width} wide"
        raise UsageError(message, hint='an even width of heads, or positions = "absolute"')
    return ConvolvedAttention(
        heads=options.heads,
        model_width=config.hidden_size,
        groups=groups,
        head_width=width,
        rotary=Rotary(width) if config.positions == "rope" else None,
        alibi=config.positions == "alibi",
        projection_bias=False,
        output_bias=False,
    )
