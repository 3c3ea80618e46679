"""The header of a GGUF file, read without trusting a byte of it.

    "GGUF" | version (uint32) | number of tensors (uint64) | number of keys (uint64)
    keys      name, type (uint32), value: a number, a string, or an array of them
    tensors   name, number of axes (uint32), axes (uint64, the fastest first), type (uint32),
              offset (uint64) from the start of the data
    data      from the next multiple of `general.alignment` (32) on

Strings are a length (uint64) and UTF-8. The keys hold the tokenizer, millions of bytes of it, so a
header is read in growing pieces; lists of strings are counted and not kept, long lists of numbers
passed over.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.checkpoints.entries import MAX_COUNT
from spectrakit.checkpoints.gguf.tensor_types import TYPES
from spectrakit.errors import MalformedError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spectrakit.checkpoints.byte_sources import ByteSource
    from spectrakit.checkpoints.gguf.tensor_types import TensorType

MAGIC = b"GGUF"
#: What the first read brings, and the most that one read does.
_FIRST_BYTES, _MOST_BYTES = 64 * 1024, 4 << 20
#: More than the largest tokenizers need (some 16 MB).
_MAX_HEADER_BYTES = 256 << 20
_MAX_STRING = 16 << 20  # a chat template
_MAX_NAME = 1024
_MAX_AXES = 4  # of ggml
_KEPT_NUMBERS = 4096
_DEFAULT_ALIGNMENT = 32
_TENSOR_BYTES = 32  # of the shortest description
_KEY_BYTES = 13

_NUMBERS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_UINT32, _UINT64 = _NUMBERS[4], _NUMBERS[10]

Value = bool | int | float | str | tuple[bool | int | float, ...]


@dataclass(frozen=True)
class Described:
    """A tensor as the header has it. shape: the slowest axis first, as everywhere else."""

    name: str
    shape: tuple[int, ...]
    type: TensorType | None  # None for one that is not known here
    type_id: int
    offset: int  # absolute in the file
    size: int  # in bytes; of a type that is not known, 0

    @property
    def type_name(self) -> str:
        """What the type is called."""
        return f"GGML type {self.type_id}" if self.type is None else self.type.name


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself. digest: of the header's bytes that tell."""

    values: Mapping[str, Value]
    tensors: tuple[Described, ...]
    digest: bytes


def read_header(source: ByteSource) -> Header:
    """The header of the GGUF file behind `source`.

    Raises `MalformedError` for anything that is not a sound one, `UnsupportedError` for version 1
    and for big-endian files.
    """
    reader = _Reader(source)
    if reader.take(4) != MAGIC:
        raise reader.malformed("it does not begin with GGUF")
    version = reader.number(_UINT32)
    if version not in (2, 3):
        _refuse_version(source.name, version)
    tensors, keys = reader.count(_TENSOR_BYTES), reader.count(_KEY_BYTES)
    values: dict[str, Value] = {}
    for _ in range(keys):
        name = reader.string(_MAX_NAME)
        if name in values:
            raise reader.malformed(f"it has the key {name!r} twice")
        value = _value(reader, reader.number(_UINT32), name)
        if value is not None:
            values[name] = value
    described = [_described(reader) for _ in range(tensors)]
    start = _aligned(reader.position, values, source.name)
    placed = tuple(_placed(source, start, *each) for each in described)
    _check_layout(source.name, placed)
    return Header(values, placed, reader.digest())


def _refuse_version(name: str, version: int) -> None:
    if version & 0xFFFF == 0:
        message = f"{name} is a big-endian GGUF file, which is not read here"
        raise UnsupportedError(
            message, hint="python -m gguf.scripts.gguf_convert_endian FILE little"
        )
    raise UnsupportedError(
        f"{name} is a GGUF file of version {version}; versions 2 and 3 are read",
        hint="convert the original model again with a llama.cpp of today",
    )


def _value(reader: _Reader, kind: int, name: str) -> Value | None:
    """The value of a key; None for one that is not kept."""
    if kind == _STRING:
        return reader.string(_MAX_STRING)
    if kind != _ARRAY:
        return reader.number(_kind(reader, kind, name))
    kind = int(reader.number(_UINT32))
    if kind == _STRING:
        for _ in range(reader.count(_UINT64.size)):
            reader.pass_over_string()
        return None
    number = _kind(reader, kind, name)
    count = reader.count(number.size)
    if count > _KEPT_NUMBERS:
        reader.pass_over(count * number.size)
        return None
    return tuple(item for (item,) in number.iter_unpack(reader.take(count * number.size)))


def _kind(reader: _Reader, kind: int, name: str) -> struct.Struct:
    if kind not in _NUMBERS:
        raise reader.malformed(f"the key {name!r} has a value of type {kind}, which GGUF lacks")
    return _NUMBERS[kind]


def _described(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, type and offset of a tensor."""
    name = reader.string(_MAX_NAME)
    axes = reader.number(_UINT32)
    if axes > _MAX_AXES:
        raise reader.malformed(f"tensor {name!r} has {axes} axes")
    shape = tuple(int(reader.number(_UINT64)) for _ in range(axes))[::-1]
    if math.prod(max(n, 1) for n in shape) >= MAX_COUNT:
        raise reader.malformed(f"tensor {name!r} has the shape {list(shape)}")
    return name, shape, int(reader.number(_UINT32)), int(reader.number(_UINT64))


def _aligned(position: int, values: Mapping[str, Value], name: str) -> int:
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    power = isinstance(alignment, int) and 0 < alignment <= 1 << 20
    if not power or alignment & (alignment - 1):  # type: ignore[operator]
        raise _malformed(name, f"its data are aligned to {alignment!r}, which is no power of two")
    step = int(alignment)  # type: ignore[arg-type]
    return -(-position // step) * step


def _placed(
    source: ByteSource, start: int, name: str, shape: tuple[int, ...], type_id: int, offset: int
) -> Described:
    kind = TYPES.get(type_id)
    size = 0
    if kind is not None:
        row = shape[-1] if shape else 1
        if row % kind.block:
            what = f"tensor {name!r} has rows of {row} elements, and {kind.name} blocks of"
            raise _malformed(source.name, f"{what} {kind.block}")
        size = math.prod(shape) // kind.block * kind.size
    if start + offset + size > source.size:
        raise _malformed(
            source.name,
            f"tensor {name!r} ends at byte {start + offset + size} of {source.size}"
            " (is the file truncated?)",
        )
    return Described(name, shape, kind, type_id, start + offset, size)


def _check_layout(file: str, tensors: tuple[Described, ...]) -> None:
    """Names once each, and no two tensors in the same bytes."""
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise _malformed(file, "it names a tensor twice")
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda each: (each.offset, each.size)):
        if tensor.offset < end:
            raise _malformed(file, f"tensor {tensor.name!r} overlaps {before!r}")
        end, before = tensor.offset + tensor.size, tensor.name


class _Reader:
    """The bytes of a file from its start on, fetched in growing pieces."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self._start = 0  # of what is in the buffer
        self._buffer = b""
        self._at = 0  # in the buffer
        self._piece = _FIRST_BYTES

    @property
    def position(self) -> int:
        """Absolute, of the next byte."""
        return self._start + self._at

    def malformed(self, what: str) -> MalformedError:
        return _malformed(self._source.name, what)

    def digest(self) -> bytes:
        """Of all bytes that were taken."""
        return self._digest.digest()

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self._have(count)
        taken = self._buffer[self._at : self._at + count]
        self._at += count
        self._digest.update(taken)
        return taken

    def number(self, kind: struct.Struct) -> int:
        value: int = kind.unpack(self.take(kind.size))[0]
        return value

    def count(self, least: int) -> int:
        """A number of things that take at least `least` bytes each."""
        value = self.number(_UINT64)
        if value * least > self._source.size - self.position:
            raise self.malformed(f"it claims {value:,} entries, more than its bytes can hold")
        return value

    def string(self, most: int) -> str:
        length = self.number(_UINT64)
        if length > most:
            raise self.malformed(f"it has a name or a text of {length:,} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.malformed(f"a name or a text in it is not UTF-8 ({error.reason})") from error

    def pass_over_string(self) -> None:
        """Done some 10^5 times for a tokenizer."""
        if len(self._buffer) - self._at < _UINT64.size:
            self._have(_UINT64.size)
        (length,) = _UINT64.unpack_from(self._buffer, self._at)
        self._at += _UINT64.size
        if length > len(self._buffer) - self._at:
            self.pass_over(length)
        else:
            self._at += length

    def pass_over(self, count: int) -> None:
        """Go on `count` bytes further, without reading what is not here yet."""
        if count > self._source.size - self.position:
            raise self.malformed(f"it ends within a value of {count:,} bytes")
        left = len(self._buffer) - self._at
        if count <= left:
            self._at += count
            return
        self._start += len(self._buffer) + count - left
        self._buffer, self._at = b"", 0

    def _have(self, count: int) -> None:
        """Bring the next `count` bytes into the buffer."""
        left = len(self._buffer) - self._at
        if count <= left:
            return
        if self.position + count > min(self._source.size, _MAX_HEADER_BYTES):
            raise self.malformed("its header does not end where it should (is it truncated?)")
        wanted = max(count - left, self._piece)
        self._piece = min(2 * self._piece, _MOST_BYTES)
        behind = self._start + len(self._buffer)
        more = self._source.read(behind, min(behind + wanted, self._source.size))
        self._buffer = self._buffer[self._at :] + more
        self._start, self._at = behind - left, 0


def _malformed(name: str, what: str) -> MalformedError:
    return MalformedError(
        f"{name}: not a sound GGUF file: {what}", hint="download or convert the file again"
    )
