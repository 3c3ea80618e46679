"""DSS as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.mixers import DSS
from spectrakit.training.models.options import Size, SteppedOptions

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class DSSOptions(SteppedOptions):
    """Options of DSS."""

    state_size: Size = Field(64, description="N, complex states of each channel.")


def mixer_of(config: SpectrakitConfig) -> DSS:
    """Its mixer: the version `exp`, whose kernel does not depend on its length."""
    options = DSSOptions(**(config.mixer_options or {}))
    return DSS(config.hidden_size, options.state_size, "exp")
