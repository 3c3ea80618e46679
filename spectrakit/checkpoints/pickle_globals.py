"""What the globals of a state dict's pickle stand for: small functions and constants, inert here.

`resolve` knows what a state dict needs and nothing else; whatever else a pickle names is a
`Placeholder`. torch is not involved: a tensor comes out as a `StoredTensor`, which says where its
elements lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.entries import MAX_COUNT, MAX_DIMENSIONS
from spectrakit.checkpoints.pickle_bytes import BadPickleError
from spectrakit.checkpoints.placeholders import Placeholder
from spectrakit.checkpoints.stored_tensors import Storage, StoredTensor

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
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e4m3fnuz": "F8_E4M3FNUZ",
}  # fmt: skip


@dataclass(frozen=True)
class StorageType:
    """A storage class, `torch.FloatStorage` for instance; None for the untyped one."""

    dtype: str | None


@dataclass(frozen=True)
class Dtype:
    """A `torch.dtype`, by its safetensors name."""

    name: str


@dataclass(frozen=True)
class Builder:
    """What stands for an allowed function: `build` gets the pickled arguments."""

    build: Callable[..., Any]


class NotPlainError(Exception):
    """A tensor whose values are not simply the bytes of its storage; named by what they are.

    Never leaves this room: the machine puts a placeholder in the tensor's place.
    """


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
    _check_plain(storage)
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
    _check_plain(storage, dtype)
    if not isinstance(storage, Storage) or not isinstance(dtype, Dtype):
        raise BadPickleError("a tensor without a storage or dtype")
    return _view(storage, dtype.name, (offset, shape, strides, metadata))


def _view(storage: Storage, dtype: str, layout: tuple[object, ...]) -> StoredTensor:
    offset, shape, strides, metadata = layout
    start, sizes, steps = _counts((offset,)), _counts(shape), _counts(strides)
    if len(sizes) != len(steps):
        raise BadPickleError("a tensor with more sizes than strides")
    if isinstance(metadata, Placeholder) or metadata:
        raise NotPlainError("lazily conjugated or negated tensor")
    return StoredTensor(storage.key, storage.dtype, storage.elements, dtype, start[0], sizes, steps)


def _parameter(data: object, *_: object) -> StoredTensor:
    """`torch._utils._rebuild_parameter`: the tensor, without gradient flag, hooks and state."""
    _check_plain(data)
    if not isinstance(data, StoredTensor):
        raise BadPickleError("a parameter that is no tensor")
    return data


def _check_plain(*parts: object) -> None:
    for part in parts:
        if isinstance(part, Placeholder):
            raise NotPlainError(part.type_name)


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


def described_storage(described: object) -> tuple[StorageType | Placeholder, Storage]:
    """The class and the place of a storage, from the tuple that torch.save writes for it."""
    if isinstance(described, tuple) and len(described) == 5:
        tag, kind, key, _, elements = described
        whole = isinstance(tag, str) and isinstance(key, str) and type(elements) is int
        if whole and tag == "storage" and elements >= 0:
            if isinstance(kind, StorageType):
                return kind, Storage(key, kind.dtype, elements)
            if isinstance(kind, Placeholder):
                return kind, Storage(key, None, elements)
    raise BadPickleError("a storage that is not described as torch.save does")


def is_dict_key(key: object) -> bool:
    """Whether `key` can be hashed without harm: a deeply nested tuple overflows the C stack."""
    return key is None or isinstance(key, str | int | float | bool)
