"""Checkpoints: from a name to a config, an index of tensors, and the bytes of those asked for."""

from spectrakit.checkpoints.checkpoint import Checkpoint
from spectrakit.checkpoints.entries import CheckpointFile, TensorEntry
from spectrakit.checkpoints.hub_opening import fetch_file
from spectrakit.checkpoints.in_memory import TensorsInMemory
from spectrakit.checkpoints.opening import name_of, open_checkpoint
from spectrakit.checkpoints.tensor_source import TensorSource

__all__ = [
    "Checkpoint",
    "CheckpointFile",
    "TensorEntry",
    "TensorSource",
    "TensorsInMemory",
    "fetch_file",
    "name_of",
    "open_checkpoint",
]
