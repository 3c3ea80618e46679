"""LRU as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.errors import UsageError
from spectrakit.mixers import LRU
from spectrakit.training.models.options import MixerOptions, Size, Step

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class LRUOptions(MixerOptions):
    """Options of the LRU."""

    state_size: Size = Field(64, description="N, complex states that all channels share.")
    r_min: float = Field(0.9, ge=0, lt=1, description="Smallest initial |lambda|.")
    r_max: float = Field(0.99, gt=0, le=1, description="Largest initial |lambda|.")
    max_phase: float = Field(
        2 * math.pi, gt=0, le=2 * math.pi, description="Largest initial phase, in radians."
    )
    dt: Step = Field(0.01, description="Step of a set of initial eigenvalues in continuous time.")


def mixer_of(config: SpectrakitConfig) -> LRU:
    """Its mixer. Raises UsageError for a ring without a middle."""
    options = LRUOptions(**(config.mixer_options or {}))
    if options.r_min > options.r_max:
        message = f"a ring from r_min = {options.r_min} to r_max = {options.r_max}"
        raise UsageError(message, hint="r_min = 0.9, r_max = 0.99")
    return LRU(config.hidden_size, options.state_size)
