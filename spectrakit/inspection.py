"""What a checkpoint holds and what can be analysed in it, from its headers alone."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.checkpoints import TensorSource
    from spectrakit.model import Model
    from spectrakit.progress import Progress
else:
    torch = lazy_import("torch")

#: Elements of a tensor that are checked at once.
_CHECKED = 1 << 22

logger = logging.getLogger("spectrakit")


@dataclass(frozen=True)
class LayerCost:
    """One layer, and the bytes each mode would read of it (None: that mode cannot read it)."""

    layer: Layer
    weights_bytes: int | None
    data_bytes: int | None


@dataclass(frozen=True)
class Inspection:
    """The headers' summary of a model."""

    parameters: int
    dtypes: dict[str, int]
    layers: tuple[LayerCost, ...]

    @property
    def weights_bytes(self) -> int:
        """Bytes of tensors that weights mode reads in all."""
        return sum(cost.weights_bytes or 0 for cost in self.layers)


def inspect_model(model: Model) -> Inspection:
    """Summarise `model` from its headers. Raises what `Model.layers` raises."""
    checkpoint = model.checkpoint
    # Tied weights are one storage under several names.
    distinct = {(entry.file, entry.offset): entry for entry in checkpoint.tensors.values()}
    dtypes: Counter[str] = Counter()
    for entry in distinct.values():
        dtypes[entry.stored_as] += entry.elements
    return Inspection(
        parameters=sum(dtypes.values()),
        dtypes=dict(dtypes),
        layers=tuple(_cost(checkpoint, layer) for layer in model.layers),
    )


def _cost(checkpoint: TensorSource, layer: Layer) -> LayerCost:
    if layer.mixer is None:
        return LayerCost(layer, None, None)
    return LayerCost(
        layer,
        _size(checkpoint, layer.weights_tensors) if layer.in_weights else None,
        _size(checkpoint, layer.tensors(checkpoint.tensors)) if layer.runs else None,
    )


def _size(checkpoint: TensorSource, names: Iterable[str]) -> int:
    return sum(checkpoint.tensors[name].file_bytes for name in names)


def looks_like(checkpoint: TensorSource) -> str | None:
    """What is recognised by names and shapes alone: "mamba, 3 layers, width 96"; or None."""
    from spectrakit.architectures.bare.family import described

    return described(checkpoint)


def is_bare(model: Model) -> bool:
    """Whether names and shapes alone say what the model is, and no config."""
    from spectrakit.architectures.bare.family import BareModules

    return isinstance(model.architecture, BareModules)


@dataclass(frozen=True)
class BadTensor:
    """A tensor that holds NaN or Inf."""

    name: str
    file: str
    elements: int
    nans: int
    infinities: int


def bad_tensors(checkpoint: TensorSource, progress: Progress) -> Iterator[BadTensor]:
    """Every floating-point tensor that holds NaN or Inf; reads the whole checkpoint, piecewise.

    Tensors that cannot be read are left out, and named.
    """
    local = checkpoint.localize()
    entries = [entry for entry in local.tensors.values() if entry.readable]
    unread = [entry.name for entry in local.tensors.values() if not entry.readable]
    if unread:
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        logger.warning("values not checked: %s%s cannot be read", ", ".join(unread[:3]), more)
    total = sum(entry.span for entry in entries)
    with progress.task("checking values", total=total, unit="B") as task:
        for entry in entries:
            tensor = local.read([entry.name])[entry.name]
            if tensor.is_floating_point() or tensor.is_complex():
                nans, infinities = _count_bad(tensor)
                if nans or infinities:
                    yield BadTensor(entry.name, entry.file, entry.elements, nans, infinities)
            task.advance(entry.span)


def _count_bad(tensor: Tensor) -> tuple[int, int]:
    nans = infinities = 0
    rows = max(1, _CHECKED // max(1, math.prod(tensor.shape[1:])))
    for piece in tensor.split(rows) if tensor.ndim else (tensor,):
        # float8 has no isnan of its own; any float fits float32's range of finite and not.
        values = piece if piece.element_size() > 1 else piece.float()
        nans += int(torch.isnan(values).sum())
        infinities += int(torch.isinf(values).sum())
    return nans, infinities
