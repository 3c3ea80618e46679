"""Mixers: one file per kind of sequence layer, from parameters or activations to a recurrence."""

from spectrakit.mixers.base import Mixer, Observation, Parameters
from spectrakit.mixers.mamba import Mamba
from spectrakit.mixers.mamba2 import Mamba2

__all__ = ["Mamba", "Mamba2", "Mixer", "Observation", "Parameters"]
