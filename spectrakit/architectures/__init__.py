"""Architectures: one file per checkpoint family. Names and layouts, no mathematics."""

from spectrakit.architectures.base import Architecture, Layer, LayerSeen, RunnableModel

__all__ = ["Architecture", "Layer", "LayerSeen", "RunnableModel"]
