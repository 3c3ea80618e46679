"""The header of a safetensors file, read without trusting a byte of it.

    8 bytes N (little-endian) | N bytes of JSON | the tensors' bytes, without gaps, to the end

The JSON maps every tensor's name to its dtype, shape and `data_offsets`, which count from the end
of the header. The checks are those of the format's reference reader and three more: duplicate keys
are refused, the header's length is compared with the file before anything is allocated, and names
must be writable as UTF-8.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from spectrakit.checkpoints.byte_sources import look_bytes
from spectrakit.checkpoints.entries import ITEM_BYTES, MAX_COUNT, MAX_DIMENSIONS, TensorEntry
from spectrakit.checkpoints.uncollected import uncollected
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spectrakit.checkpoints.byte_sources import ByteSource

#: The Hub's own limit; 97 % of its popular headers are below 100 kB.
MAX_HEADER_BYTES = 25_000_000

#: Bits of an element of dtypes with less than a byte: no offset of one element can be given.
_SUB_BYTE = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_INT = {int}
#: What a dtype of the format is called, those to come included.
_DTYPE = re.compile(r"[A-Z][A-Z0-9_]{0,31}")


def read_header(source: ByteSource, file: str) -> tuple[dict[str, TensorEntry], bytes]:
    """The tensors of the safetensors file behind `source`, and the header's bytes.

    `file` is the file's name inside the checkpoint. A tensor whose dtype has no whole byte, or is
    not known here, is listed and not read. Raises `MalformedError` for anything that is not exactly
    a safetensors file.
    """
    text = _header_bytes(source)
    with uncollected():
        return _described(text, file, source), text


def _described(text: bytes, file: str, source: ByteSource) -> dict[str, TensorEntry]:
    header = _parse(text, source.name)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _malformed(source.name, "its __metadata__ does not map names to strings")
    return _entries(header, file, 8 + len(text), source)


def _header_bytes(source: ByteSource) -> bytes:
    if source.size < 8:
        what = "is empty" if source.size == 0 else f"is only {source.size} bytes long"
        raise _malformed(source.name, what)
    first = source.read(0, look_bytes(source.size))
    length = int.from_bytes(first[:8], "little")
    if length == 0 and not any(first):
        raise _malformed(source.name, "is filled with zeros")
    if first.startswith(b"version https://git-lfs"):
        raise MalformedError(
            f"{source.name} is a Git LFS pointer, not the weights",
            hint="git lfs pull, in the folder of the clone",
        )
    if length > MAX_HEADER_BYTES:
        raise _malformed(
            source.name,
            f"claims a header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read",
        )
    if 8 + length > source.size:
        raise _malformed(
            source.name, f"claims a header of {length:,} bytes and has {source.size:,} in all"
        )
    if 8 + length <= len(first):
        return first[8 : 8 + length]
    return first[8:] + source.read(len(first), 8 + length)


def _parse(text: bytes, name: str) -> dict[str, Any]:
    try:
        decoded = text.decode("utf-8")
        header = json.loads(decoded)
        if _may_repeat(header, text):
            header = json.loads(decoded, object_pairs_hook=_no_duplicates)
    except UnicodeDecodeError as error:
        raise _malformed(name, f"its header is not UTF-8 ({error.reason})") from error
    except _DuplicateKeyError as error:
        raise _malformed(name, f"its header names {error.key!r} twice") from error
    except RecursionError as error:
        raise _malformed(name, "its header is nested too deeply") from error
    except ValueError as error:
        raise _malformed(name, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _malformed(name, "its header is not a JSON object")
    return header


def _may_repeat(header: object, text: bytes) -> bool:
    """Whether a key may stand twice in `text`, of which `header` has the last: False is certain.

    Looking at every key takes many times as long as parsing does. Strings without escapes have two
    quotation marks each, so that they are counted instead: a key that was lost is one too many.
    """
    if not isinstance(header, dict) or b"\\" in text:
        return True
    strings = len(header)
    for name, description in header.items():
        if not isinstance(description, dict):
            return True
        # Of a tensor: three keys and the dtype. Whatever else has a string is one too many, too.
        strings += 2 * len(description) if name == "__metadata__" else len(description) + 1
    return text.count(b'"') != 2 * strings


class _DuplicateKeyError(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKeyError(key)
        result[key] = value
    return result


#: What a tensor is described by.
_KEYS = frozenset({"dtype", "shape", "data_offsets"})


class _Layout(NamedTuple):
    """A dtype and shape that many tensors have; size: in bytes, None where that is not known."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: int | None


def _entries(
    header: Mapping[str, Any], file: str, data_start: int, source: ByteSource
) -> dict[str, TensorEntry]:
    """The tensors, which must follow each other without overlap or hole, to the file's end."""
    data_bytes = source.size - data_start
    layouts: dict[tuple[object, ...], _Layout] = {}
    entries: dict[str, TensorEntry] = {}
    places: list[tuple[int, int, str]] = []
    for name, description in header.items():
        if not name.isascii() and not _is_utf8(name):
            raise _malformed(source.name, f"tensor name {name!r} is not valid Unicode")
        if not isinstance(description, dict) or description.keys() != _KEYS:
            raise _tensor(source, name, "needs exactly dtype, shape and data_offsets")
        dtype = description["dtype"]
        layout = _layout(dtype, description["shape"], layouts, name, source)
        start, stop = _offsets(description["data_offsets"], name, source)
        if not start <= stop <= data_bytes:
            raise _tensor(
                source,
                name,
                f"lies at bytes {start}..{stop} of {data_bytes} bytes of data"
                " (is the file truncated?)",
            )
        if layout.size != stop - start:
            _check_size(dtype, layout, stop - start, name, source)
        stored = None if dtype in ITEM_BYTES else stop - start
        place = data_start + start
        shape, strides = layout.shape, layout.strides
        entries[name] = TensorEntry(name, dtype, shape, strides, file, place, stored)
        places.append((start, stop, name))
    _check_places(places, data_bytes, source)
    return entries


def _layout(
    dtype: object,
    shape: object,
    known: dict[tuple[object, ...], _Layout],
    name: str,
    source: ByteSource,
) -> _Layout:
    """Of this dtype and shape, which is checked the first time that it is seen."""
    # True is 1 and 1.0 is 1, as a key of a dict.
    if not isinstance(shape, list) or not set(map(type, shape)) <= _INT:
        _dtype(dtype, name, source)
        raise _tensor(source, name, f"has the shape {_brief(shape)}")
    key = (dtype, *shape) if isinstance(dtype, str) else ()
    found = known.get(key)
    if found is None:
        dtype = _dtype(dtype, name, source)
        counts = _counts(shape)
        if counts is None:
            raise _tensor(source, name, f"has the shape {_brief(shape)}")
        bits = 8 * ITEM_BYTES[dtype] if dtype in ITEM_BYTES else _SUB_BYTE.get(dtype)
        size = None if bits is None else math.prod(counts) * bits
        whole = None if size is None or size % 8 else size // 8
        found = known[key] = _Layout(counts, row_major(counts), whole)
    return found


def _check_size(dtype: str, layout: _Layout, size: int, name: str, source: ByteSource) -> None:
    """Of a dtype that is not known, only whether there are bytes where there are elements."""
    elements = math.prod(layout.shape)
    bits = 8 * ITEM_BYTES[dtype] if dtype in ITEM_BYTES else _SUB_BYTE.get(dtype)
    if bits is None:
        if bool(elements) != bool(size):
            raise _tensor(source, name, f"{dtype} {list(layout.shape)} has {size} bytes")
    elif elements * bits != 8 * size:
        needed = -(-elements * bits // 8)
        raise _tensor(
            source, name, f"{dtype} {list(layout.shape)} needs {needed} bytes, has {size}"
        )


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a contiguous tensor of `shape`."""
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def _check_places(places: list[tuple[int, int, str]], data_bytes: int, source: ByteSource) -> None:
    """Raise MalformedError unless tensors (start, stop, name) fill the file one after another."""
    position, before = 0, "the header"
    for start, stop, name in sorted(places):
        if start < position:
            raise _tensor(source, name, f"overlaps {before}")
        if start > position:
            message = f"begins {start - position} bytes after {before} ends"
            raise _tensor(source, name, message)
        position, before = stop, name
    if position != data_bytes:
        described = source.size - data_bytes + position
        raise _malformed(
            source.name, f"its header describes {described:,} bytes, the file has {source.size:,}"
        )


def _dtype(value: object, name: str, source: ByteSource) -> str:
    if isinstance(value, str) and _DTYPE.fullmatch(value):
        return value
    raise _tensor(source, name, f"has the dtype {_brief(value)}, which no safetensors file has")


def _counts(value: object) -> tuple[int, ...] | None:
    """`value` as non-negative integers that fit a tensor, or None; JSON's `true` is not one."""
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS:
        return None
    if not all(type(n) is int and 0 <= n < MAX_COUNT for n in value):
        return None
    if math.prod(max(n, 1) for n in value) >= MAX_COUNT:
        return None
    return tuple(value)


def _offsets(value: object, name: str, source: ByteSource) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2:
        start, stop = value
        if type(start) is int and type(stop) is int and start >= 0 and stop >= 0:
            return start, stop
    raise _tensor(source, name, f"has the offsets {_brief(value)}")


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _tensor(source: ByteSource, name: str, what: str) -> MalformedError:
    return _malformed(source.name, f"tensor {_brief(name)} {what}")


def _malformed(name: str, what: str) -> MalformedError:
    return MalformedError(
        f"{name}: not a sound safetensors file: {what}", hint="download or save the file again"
    )
