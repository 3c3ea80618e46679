"""Layers of the delta rule as a recipe asks for them: options, and the mixers they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import Field

from spectrakit.mixers.delta_layer import DeltaNet, GatedDeltaLayer, KimiDeltaLayer
from spectrakit.training.models.kinds.sizes import head_width
from spectrakit.training.models.options import MixerOptions, Size, SteppedOptions

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class DeltaNetOptions(MixerOptions):
    """Options of DeltaNet."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    key_width: Size | None = Field(
        None, description="Width of a head's queries and keys; that of its values where left out."
    )
    negative: bool = Field(
        False, description="Whether beta reaches 2, and eigenvalues along keys -1."
    )


class GatedDeltaNetOptions(DeltaNetOptions, SteppedOptions):
    """Options of Gated DeltaNet."""


class KimiDeltaOptions(GatedDeltaNetOptions):
    """Options of Kimi delta attention."""

    decay_rank: Size | None = Field(
        None, description="Rank of the decays' projection; a head's width where left out."
    )


_Layer = TypeVar("_Layer", bound=GatedDeltaLayer)


def _made(config: SpectrakitConfig, options: DeltaNetOptions, kind: type[_Layer]) -> _Layer:
    width = head_width(config.hidden_size, options.heads)
    return kind(
        heads=options.heads,
        head_width=width,
        state_size=options.key_width or width,
        groups=options.heads,
        model_width=config.hidden_size,
        negative=options.negative,
    )


def mixer_of(config: SpectrakitConfig) -> DeltaNet:
    """DeltaNet's mixer. Raises UsageError where sizes do not fit."""
    return _made(config, DeltaNetOptions(**(config.mixer_options or {})), DeltaNet)


def gated_mixer_of(config: SpectrakitConfig) -> GatedDeltaLayer:
    """Gated DeltaNet's. Raises UsageError where sizes do not fit."""
    return _made(config, GatedDeltaNetOptions(**(config.mixer_options or {})), GatedDeltaLayer)


def kimi_mixer_of(config: SpectrakitConfig) -> KimiDeltaLayer:
    """Kimi delta attention's. Raises UsageError where sizes do not fit."""
    options = KimiDeltaOptions(**(config.mixer_options or {}))
    width = head_width(config.hidden_size, options.heads)
    return KimiDeltaLayer(
        heads=options.heads,
        head_width=width,
        state_size=options.key_width or width,
        rate_shape=(options.heads,),
        model_width=config.hidden_size,
        decay_rank=options.decay_rank or width,
        negative=options.negative,
    )
