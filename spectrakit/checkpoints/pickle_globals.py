"""What the globals of a state dict's pickle stand for: small functions and constants, inert here.

`resolve` knows what a state dict needs and nothing else. torch is not involved: a tensor comes out
as a `StoredTensor`, which says where its elements lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.entries import MAX_COUNT, MAX_DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

_STORAGES = {
    "Bool": "BOOL", "Byte": "U8", "Char": "I8", "Short": "I16", "Int": "I32", "Long": "I64",
    "Half": "F16", "BFloat16": "BF16", "Float": "F32", "Double": "F64",
    "ComplexFloat": "C64", "ComplexDouble": "C128",
}  # fmt: skip
_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16",
    "uint32": "U32", "int32": "I32", "uint64": "U64", "int64": "I64",
    "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "complex128": "C128",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    """A view of the storage `key`: `offset` and `strides` count elements of `dtype`.

    `storage_dtype` is None for an untyped storage, whose `storage_elements` are bytes.
    """

    key: str
    storage_dtype: str | None
    storage_elements: int
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class StorageType:
    """A storage class, `torch.FloatStorage` for instance; None for the untyped one."""

    dtype: str | None


@dataclass(frozen=True)
class Storage:
    """A storage that the pickle refers to by its key; without a dtype, elements are bytes."""

    key: str
    dtype: str | None
    elements: int


@dataclass(frozen=True)
class Dtype:
    """A `torch.dtype`, by its safetensors name."""

    name: str


@dataclass(frozen=True)
class Builder:
    """What stands for an allowed function: `build` gets the pickled arguments."""

    build: Callable[..., Any]


class BadPickleError(Exception):
    """A pickle that is damaged, or no state dict. Never leaves this room."""


def resolve(module: str, name: str) -> object | None:
    """What `module.name` stands for, or None when a state dict has no business with it."""
    if module in {"torch", "torch.cuda", "torch.storage"} and name.endswith("Storage"):
        if name == "UntypedStorage":
            return StorageType(None)
        dtype = _STORAGES.get(name.removesuffix("Storage"))
        return None if dtype is None else StorageType(dtype)
    if module == "torch" and name in _DTYPES:
        return Dtype(_DTYPES[name])
    return _FUNCTIONS.get((module, name))


def _ordered_dict() -> dict[Any, Any]:
    """Empty: what is in it follows by the opcodes that set items."""
    return {}


def _tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _grad: object,
    _hooks: object,
    metadata: object = None,
) -> StoredTensor:
    """`torch._utils._rebuild_tensor_v2`: the dtype is the storage's."""
    if not isinstance(storage, Storage) or storage.dtype is None:
        raise BadPickleError("a tensor without a typed storage")
    return _view(storage, storage.dtype, (offset, shape, strides, metadata))


def _tensor_with_dtype(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _grad: object,
    _hooks: object,
    dtype: object,
    metadata: object = None,
) -> StoredTensor:
    """`torch._utils._rebuild_tensor_v3`: dtypes newer than typed storages (uint16, float8)."""
    if not isinstance(storage, Storage) or not isinstance(dtype, Dtype):
        raise BadPickleError("a tensor without a storage or dtype")
    return _view(storage, dtype.name, (offset, shape, strides, metadata))


def _view(storage: Storage, dtype: str, layout: tuple[object, ...]) -> StoredTensor:
    offset, shape, strides, metadata = layout
    start, sizes, steps = _counts((offset,)), _counts(shape), _counts(strides)
    if len(sizes) != len(steps):
        raise BadPickleError("a tensor with more sizes than strides")
    if metadata:
        raise BadPickleError("a lazily conjugated or negated tensor, whose bytes are not values")
    return StoredTensor(storage.key, storage.dtype, storage.elements, dtype, start[0], sizes, steps)


def _parameter(data: object, *_: object) -> StoredTensor:
    """`torch._utils._rebuild_parameter`: the tensor, without gradient flag, hooks and state."""
    if not isinstance(data, StoredTensor):
        raise BadPickleError("a parameter that is no tensor")
    return data


def _counts(values: object) -> tuple[int, ...]:
    """`torch.Size`, and any tuple of sizes: few, and small enough for torch."""
    if not isinstance(values, tuple | list) or len(values) > MAX_DIMENSIONS:
        raise BadPickleError("a tensor whose layout is no tuple of counts")
    if not all(type(n) is int and 0 <= n < MAX_COUNT for n in values):
        raise BadPickleError("a tensor whose layout is not made of counts")
    return tuple(values)


_FUNCTIONS = {
    ("collections", "OrderedDict"): Builder(_ordered_dict),
    ("torch._utils", "_rebuild_tensor_v2"): Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Builder(_tensor_with_dtype),
    ("torch._utils", "_rebuild_parameter"): Builder(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Builder(_parameter),
    ("torch", "Size"): Builder(_counts),
}


def dict_key(key: object) -> str | int | float | bool | None:
    """A dict's key, of a plain type: hashing a deeply nested tuple overflows the C stack."""
    if key is None or isinstance(key, str | int | float | bool):
        return key
    raise BadPickleError(f"a dict with a key that is a {type(key).__name__}")
