"""Whether an adapter changes what a model's eigenvalues are in weights mode, and by how much."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from spectrakit.checkpoints.adapters import AdaptedCheckpoint
from spectrakit.errors import SpectrakitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from spectrakit.architectures.base import Layer
    from spectrakit.checkpoints import TensorSource

logger = logging.getLogger("spectrakit")


def mention_effect(checkpoint: TensorSource, listed: Callable[[], Sequence[Layer]]) -> None:
    """Note which tensors of A and its step an adapter changes; nothing for any other checkpoint.

    listed: gives the layers. Reads those tensors, merged and not. The change is ||W' - W|| / ||W||
    by Frobenius' norm.
    """
    if not isinstance(checkpoint, AdaptedCheckpoint):
        return
    layers: list[Layer] = []
    with suppress(SpectrakitError):  # whoever asks for the layers is told
        layers = [layer for layer in listed() if layer.in_weights]
    if not layers:
        return
    changed = {
        layer.index: [name for name in layer.weights_tensors if name in checkpoint.changed]
        for layer in layers
    }
    names = [name for inside in changed.values() for name in inside]
    if not names:
        logger.info(
            "the adapter changes no A and no step at its bias: in weights mode the eigenvalues are"
            " those of %s",
            checkpoint.base.model_id,
        )
        return
    before, after = checkpoint.base.read(names), checkpoint.read(names)
    most = max(names, key=lambda name: _change(before[name], after[name]))
    logger.info(
        "the adapter changes A or its step in %d of %d layers, the most %s, by %.2g %%",
        sum(map(bool, changed.values())),
        len(layers),
        most,
        100 * _change(before[most], after[most]),
    )


def _change(before: Tensor, after: Tensor) -> float:
    size = float(before.double().norm())
    difference = float((after.double() - before.double()).norm())
    return difference / size if size else difference
