"""Bytes to tensors.

Of this room only this file and `in_memory` use torch; both import it when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.checkpoints.entries import ITEM_BYTES, TensorEntry
from spectrakit.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

_TORCH_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64", "C128": "complex128",
    "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip


def tensor_of(entry: TensorEntry, data: memoryview) -> torch.Tensor:
    """The tensor that `entry` describes over `data`, its `entry.span` bytes.

    The tensor keeps `data` alive and shares its memory. Raises `UnsupportedError` for a dtype that
    the installed torch lacks.
    """
    import torch

    dtype = getattr(torch, _TORCH_NAMES.get(entry.dtype, ""), None)
    if dtype is None:
        raise UnsupportedError(f"{entry.name} is {entry.dtype}, which this torch does not have")
    if entry.elements == 0:
        return torch.empty(entry.shape, dtype=dtype)
    flat = torch.frombuffer(data, dtype=dtype)
    if flat.data_ptr() % ITEM_BYTES[entry.dtype]:
        # Formats do not promise alignment and vector instructions want it.
        flat = torch.frombuffer(bytearray(data), dtype=dtype)
    return flat.as_strided(entry.shape, entry.strides)


def bytes_of_chunks(
    entry: TensorEntry, chunks: Iterable[tuple[tuple[int, ...], TensorEntry, memoryview]]
) -> memoryview:
    """The bytes of the tensor `entry`, row-major, of which each of `chunks` is a block.

    A chunk: where it begins in the tensor, what it is by itself, and its bytes.
    """
    import torch

    whole = torch.zeros(entry.shape, dtype=getattr(torch, _TORCH_NAMES[entry.dtype]))
    for offsets, chunk, data in chunks:
        block = tuple(slice(o, o + n) for o, n in zip(offsets, chunk.shape, strict=True))
        whole[block] = tensor_of(chunk, data)
    return bytes_of(entry, whole)


def bytes_of(entry: TensorEntry, tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor, row-major, with the dtype that `entry` says."""
    import torch

    flat = tensor.to(getattr(torch, _TORCH_NAMES[entry.dtype])).contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy().data)


def dtype_name(dtype: torch.dtype) -> str:
    """The safetensors name of a dtype; of one that has none, that of bytes of its size."""
    name = str(dtype).removeprefix("torch.")
    names = {torch_name: name for name, torch_name in _TORCH_NAMES.items()}
    return names.get(name, f"U{8 * dtype.itemsize}")
