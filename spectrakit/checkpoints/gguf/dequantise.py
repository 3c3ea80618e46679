"""The values of a tensor of GGUF, from its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.checkpoints.materialize import tensor_of
from spectrakit.errors import UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.checkpoints.entries import TensorEntry
    from spectrakit.checkpoints.gguf.header import Described
else:
    torch = lazy_import("torch")


def values_of(tensor: Described, plain: TensorEntry | None, data: memoryview) -> Tensor:
    """The tensor whose bytes are `data`; quantised ones in float32, by the package gguf.

    plain: it as an entry, where it is not quantised. Raises UnsupportedError where the package is
    missing or does not know the type.
    """
    if plain is not None:
        return tensor_of(plain, data)
    import numpy as np

    try:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError as error:
        message = f"{tensor.name} is quantised ({tensor.type_name}), which the package gguf unpacks"
        raise UnsupportedError(message, hint="pip install 'spectrakit[gguf]'") from error
    assert tensor.type is not None  # noqa: S101  (those are not readable)
    packed = np.frombuffer(data, np.uint8)
    rows = packed.reshape(*tensor.shape[:-1], -1) if tensor.shape else packed
    try:
        values = dequantize(rows, GGMLQuantizationType(tensor.type_id))
    except (NotImplementedError, ValueError) as error:
        message = f"{tensor.name} is {tensor.type_name}, which the package gguf does not unpack"
        raise UnsupportedError(message, hint="pip install --upgrade gguf") from error
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).reshape(tensor.shape)
