"""The file `.metadata` of `torch.distributed.checkpoint`: which tensors there are, and where.

It is a pickle of dataclasses (torch/distributed/checkpoint/metadata.py): for each tensor its dtype,
shape and chunks, and for each chunk a place in one of the `.distcp` files. The machine that reads
it is that of state dicts; the dataclasses are `Record`s here, which hold fields and do nothing.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.pickle_bytes import BadPickleError
from spectrakit.checkpoints.pickle_globals import Builder, Dtype
from spectrakit.checkpoints.unpickler import MAX_PICKLE_BYTES, _Machine
from spectrakit.errors import MalformedError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOM = "torch.distributed.checkpoint"
_CLASSES = {
    (f"{_ROOM}.metadata", "Metadata"),
    (f"{_ROOM}.metadata", "TensorStorageMetadata"),
    (f"{_ROOM}.metadata", "TensorProperties"),
    (f"{_ROOM}.metadata", "ChunkStorageMetadata"),
    (f"{_ROOM}.metadata", "BytesStorageMetadata"),
    (f"{_ROOM}.metadata", "MetadataIndex"),
    (f"{_ROOM}.metadata", "StorageMeta"),
    (f"{_ROOM}.filesystem", "_StorageInfo"),
}
#: What the metadata names beside them; nothing of it is needed.
_UNUSED = {
    (f"{_ROOM}.metadata", "_MEM_FORMAT_ENCODING"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib._local", "WindowsPath"),
}


@dataclass(frozen=True)
class Chunk:
    """A block of a tensor: where it begins in the tensor, its sizes, and its bytes in a file."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    length: int


@dataclass(frozen=True)
class SavedTensor:
    """A tensor of the checkpoint. `path`: the keys that lead to it in what was saved."""

    name: str
    path: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]


def read_metadata(data: bytes, name: str) -> list[SavedTensor]:
    """The tensors that `data`, the bytes of the file `name`, describes; values are not among them.

    Raises `MalformedError` where it is damaged, or names what no such file needs, and
    `UnsupportedError` for chunks that are compressed.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise MalformedError(f"{name}: {len(data):,} bytes are too many for a description")
    try:
        return list(_tensors(_MetadataMachine(data, name).run(), name))
    except BadPickleError as error:
        what = str(error)
    except (
        IndexError,
        KeyError,
        struct.error,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        what = f"{type(error).__name__} {error}"
    raise MalformedError(
        f"{name} is damaged, or not of torch.distributed.checkpoint: {what}",
        hint="copy the whole folder again, .metadata and every .distcp file",
    )


@dataclass(eq=False)
class Record:
    """An object of the class `kind`: its fields."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _RecordClass:
    kind: str


class _MetadataMachine(_Machine):
    """The machine of state dicts, which knows the dataclasses of the metadata too."""

    def resolve(self, module: str, name: str) -> None:
        if (module, name) in _CLASSES:
            self.push(_RecordClass(name))
        elif (module, name) in _UNUSED:
            self.push(Builder(lambda *_: None))
        else:
            super().resolve(module, name)

    def new_object(self, parts: int) -> None:
        if parts == 1 and isinstance(self.stack[-2], _RecordClass):
            self.stack.pop()
            self.push(Record(self.stack.pop().kind))
        else:
            super().new_object(parts)

    def build(self) -> None:
        record = self.stack[-2]
        if not isinstance(record, Record):
            super().build()
            return
        state = self.stack.pop()
        if record.kind == "TensorProperties" and isinstance(state, tuple):
            state = {"dtype": state[0]}
        if not isinstance(state, dict):
            raise BadPickleError(f"a {record.kind} whose state is a {type(state).__name__}")
        record.fields.update(state)

    def set_items(self, items: list[Any]) -> None:
        """As before, and a place may stand under its tensor's name and offset."""
        if not any(isinstance(key, Record) for key in items[::2]):
            super().set_items(items)
            return
        if len(items) % 2:
            raise BadPickleError("a dict with half an item")
        target = self.top(dict)
        for i in range(0, len(items), 2):
            target[_index(items[i])] = items[i + 1]


def _index(key: object) -> tuple[str, tuple[int, ...] | None]:
    """Of a MetadataIndex, what tells it from others: of few and plain parts."""
    if not isinstance(key, Record):
        raise BadPickleError(f"a place under a {type(key).__name__}")
    name, offset = key.fields["fqn"], key.fields.get("offset")
    if not isinstance(name, str):
        raise BadPickleError("a place without a name")
    return name, None if offset is None else _sizes(offset)


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(type(n) is int and n >= 0 for n in value):
        raise BadPickleError("sizes that are no counts")
    return value


def _tensors(metadata: object, name: str) -> Iterator[SavedTensor]:
    fields = _fields(metadata, "Metadata")
    places = fields.get("storage_data")
    paths = fields.get("planner_data")
    if not isinstance(places, dict):
        raise BadPickleError("no places of the tensors")
    for tensor, saved in fields["state_dict_metadata"].items():
        if not isinstance(saved, Record) or saved.kind != "TensorStorageMetadata":
            continue
        dtype = _fields(saved.fields["properties"], "TensorProperties")["dtype"]
        if not isinstance(dtype, Dtype):
            raise BadPickleError(f"{tensor} has no dtype")
        shape = _sizes(saved.fields["size"])
        chunks = tuple(_chunk(tensor, each, places, name) for each in saved.fields["chunks"])
        _check_cover(tensor, shape, chunks)
        yield SavedTensor(tensor, _path(tensor, paths), dtype.name, shape, chunks)


def _fields(value: object, kind: str) -> dict[str, Any]:
    if not isinstance(value, Record) or value.kind != kind:
        raise BadPickleError(f"no {kind}")
    return value.fields


def _path(tensor: str, paths: object) -> tuple[str, ...]:
    """The keys that the planner flattened; the name itself where it says nothing."""
    path = paths.get(tensor) if isinstance(paths, dict) else None
    return tuple(map(str, path)) if isinstance(path, tuple) and path else (tensor,)


def _chunk(tensor: str, saved: object, places: dict[Any, Any], name: str) -> Chunk:
    fields = _fields(saved, "ChunkStorageMetadata")
    offsets, sizes = _sizes(fields["offsets"]), _sizes(fields["sizes"])
    place = _fields(places[tensor, offsets], "_StorageInfo")
    if place.get("transform_descriptors"):
        raise UnsupportedError(
            f"{name}: {tensor} is stored compressed", hint="save without extensions of the writer"
        )
    file, start, length = place["relative_path"], place["offset"], place["length"]
    if not isinstance(file, str):
        raise BadPickleError(f"{tensor} lies in no file")
    _sizes((start, length))
    return Chunk(offsets, sizes, file, start, length)


def _check_cover(tensor: str, shape: tuple[int, ...], chunks: tuple[Chunk, ...]) -> None:
    """Chunks lie inside the tensor, each at a place of its own, and are as large as it is."""
    elements = 0
    for chunk in chunks:
        if not len(chunk.offsets) == len(chunk.sizes) == len(shape):
            raise BadPickleError(f"{tensor} has a chunk of other dimensions")
        if any(o + n > m for o, n, m in zip(chunk.offsets, chunk.sizes, shape, strict=True)):
            raise BadPickleError(f"{tensor} has a chunk that reaches beyond it")
        elements += math.prod(chunk.sizes)
    if elements != math.prod(shape):
        raise BadPickleError(f"{tensor} has chunks of {elements} of {math.prod(shape)} elements")
