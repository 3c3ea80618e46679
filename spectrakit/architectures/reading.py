"""Recurrences from any source of tensors: a checkpoint, a state dict, a model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.errors import MalformedError, UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.architectures.base import Layer
    from spectrakit.checkpoints import TensorSource
    from spectrakit.dynamics import Recurrence
else:
    torch = lazy_import("torch")


def read_recurrence(source: TensorSource, layer: Layer) -> Recurrence:
    """What the weights alone determine of `layer`; reads its few tensors.

    Raises UnsupportedError where they have no spectrum, MalformedError where they hold NaN or Inf,
    and what `read` raises.
    """
    if not layer.in_weights:
        message = f"layer {layer.index} ({layer.kind}): {layer.reason or 'its A needs tokens'}"
        raise UnsupportedError(message)
    tensors = source.read(layer.weights_tensors)
    if source.borrowed:  # what is read off the recurrence later is of the weights as they are now
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return weights_recurrence(source, layer, tensors)


def weights_recurrence(
    source: TensorSource, layer: Layer, tensors: Mapping[str, Tensor]
) -> Recurrence:
    """`layer`'s recurrence from its `weights_tensors`, read from `source` already.

    Raises MalformedError where they hold NaN or Inf.
    """
    assert layer.mixer is not None  # noqa: S101  (layers without a mixer have no such tensors)
    check_finite(source, layer, tensors)
    roles = layer.mixer.weights_roles
    recurrence = layer.mixer.from_weights({r: tensors[layer.parameters[r]] for r in roles})
    try:
        broken = bool(recurrence.eigenvalues().log_modulus.isnan().any())
    except FloatingPointError:  # an eigensolver met one
        broken = True
    if broken:
        names = " and ".join(layer.weights_tensors)
        message = f"layer {layer.index}: {names} are so large that they give no decay (NaN)"
        raise MalformedError(message, hint="another copy or an earlier step of the model")
    return recurrence


def check_finite(source: TensorSource, layer: Layer, tensors: Mapping[str, Tensor]) -> None:
    """Raise MalformedError where one of `layer`'s `weights_tensors` holds NaN or Inf."""
    for name in layer.weights_tensors:
        tensor = tensors[name]
        if bool(torch.isfinite(tensor).all()):
            continue
        nans, infinities = int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum())
        counts = [f"{n} {kind}" for n, kind in ((nans, "NaN"), (infinities, "Inf")) if n]
        message = (
            f"layer {layer.index}: {name} holds {' and '.join(counts)} of {tensor.numel():,} "
            f"values (in {source.tensors[name].file})"
        )
        hint = f"spectrakit inspect {source.model_id} --check-values"
        if source.borrowed:
            hint = "an earlier step of its training"
        raise MalformedError(message, hint=hint)
