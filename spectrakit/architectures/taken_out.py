"""Which tensors of a checkpoint are the model's, under the names that its family gives them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from spectrakit.checkpoints import unwrapping
from spectrakit.errors import SpectrakitError

if TYPE_CHECKING:
    from spectrakit.architectures.base import Architecture
    from spectrakit.checkpoints import Checkpoint, TensorsInMemory

logger = logging.getLogger("spectrakit")


def choose_model(checkpoint: Checkpoint | TensorsInMemory, key: str | None) -> None:
    """Leave in `checkpoint` the tensors under `key`, and no wrapper's word in any name.

    Raises UsageError where nothing is under `key`, and where there are several models and no key.
    """
    if checkpoint.module is not None:  # names are the paths of its modules
        return
    names = unwrapping.without_wrappers(checkpoint.tensors)
    if key is not None:
        names = unwrapping.chosen(names, key, checkpoint.model_id)
        checkpoint.key = key
    elif found := unwrapping.copies(names):
        raise unwrapping.several(checkpoint.model_id, found)
    if any(name != stored for name, stored in names.items()):
        checkpoint.rename(names)


def take_out(checkpoint: Checkpoint | TensorsInMemory, architecture: Architecture) -> None:
    """Have the names that `architecture` knows: take off what stands before them, and say so.

    Raises UsageError where the same blocks stand under several names.
    """
    own_names = getattr(architecture, "own_names", None)
    names = None if own_names is None or checkpoint.module is not None else own_names(checkpoint)
    if names is not None:
        checkpoint.rename(names)
    prefixes = getattr(architecture, "block_prefixes", None)
    if checkpoint.module is not None or prefixes is None:
        return
    try:
        starts = prefixes(checkpoint)
    except SpectrakitError:  # of the config: listing the layers says it
        return
    found = unwrapping.around(checkpoint.tensors, starts)
    if len(found) > 1:
        raise unwrapping.several(checkpoint.model_id, found)
    if not found or not found[0]:
        return
    before = len(checkpoint.tensors)
    present = {name: name for name in checkpoint.tensors}
    checkpoint.rename(unwrapping.inside(present, found[0]))
    checkpoint.around = found[0]
    left = before - len(checkpoint.tensors)
    besides = f"; {left} tensors besides are not the model's" if left else ""
    logger.info("the model in %s is what is under %s*%s", checkpoint.model_id, found[0], besides)
