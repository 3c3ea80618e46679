"""The dense recurrence as a recipe asks for it: its options, and the mixer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spectrakit.mixers.dense import DenseRecurrence
from spectrakit.training.models.options import MixerOptions, Size, Step

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class DenseOptions(MixerOptions):
    """Options of the dense recurrence."""

    state_size: Size = Field(64, description="N, real states that all channels share.")
    radius: float = Field(0.9, gt=0, le=2, description="Initial spectral radius of a random A.")
    dt: Step = Field(0.01, description="Step of a set of initial eigenvalues in continuous time.")


def mixer_of(config: SpectrakitConfig) -> DenseRecurrence:
    """Its mixer."""
    options = DenseOptions(**(config.mixer_options or {}))
    return DenseRecurrence(config.hidden_size, options.state_size)
