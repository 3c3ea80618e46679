"""The central directory of a zip archive, over any byte source.

Written for archives made by `torch.save`: every record is stored as it is, never compressed. That
is demanded, so an archive cannot unpack into more than it is (no zip bomb), and a record's bytes
can be read in place. One read of the end of the file finds the directory, and mostly holds it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.checkpoints.byte_sources import look_bytes
from spectrakit.checkpoints.not_a_zip import not_an_archive
from spectrakit.errors import MalformedError, SpectrakitError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectrakit.checkpoints.byte_sources import ByteSource

LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # signature ... name length, extra length
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")

#: The end record, its longest comment, and the zip64 records before it.
TAIL_BYTES = _END.size + 0xFFFF + _LOCATOR64.size + _END64.size
#: Room for several hundred thousand tensors.
MAX_DIRECTORY_BYTES = 64_000_000


@dataclass(frozen=True)
class Record:
    """A stored file of the archive: its bytes follow the local header at `header_offset`.

    `slot_stop` is where the next record (or the directory) begins.
    """

    name: str
    header_offset: int
    size: int
    name_bytes: bytes
    slot_stop: int

    @property
    def header_stop(self) -> int:
        """End of the local header's fixed part and name; the extra field and the data follow."""
        return self.header_offset + LOCAL_HEADER.size + len(self.name_bytes)


def read_directory(source: ByteSource) -> tuple[dict[str, Record], bytes]:
    """The records of the archive behind `source` by name, and the directory's bytes.

    Raises `MalformedError` for everything but a sound archive of stored records, and
    `UnsupportedError` for a TorchScript program.
    """
    tail_start = source.size - look_bytes(source.size, TAIL_BYTES)
    tail = source.read(tail_start, source.size)
    end = _find_end(tail)
    begins_early = end is None or end < _LOCATOR64.size  # before a long comment
    if begins_early and len(tail) < min(source.size, TAIL_BYTES):
        tail_start = max(0, source.size - TAIL_BYTES)
        tail = source.read(tail_start, source.size)
        end = _find_end(tail)
    if end is None:
        raise not_an_archive(source)
    count, size, start = _end_record(source, tail, tail_start, end)
    if size > MAX_DIRECTORY_BYTES or count * _CENTRAL.size > size:
        raise malformed(
            source.name, f"it claims {count:,} records in a directory of {size:,} bytes"
        )
    directory = _slice(source, tail, tail_start, start, start + size)
    records = _records(directory, count, start, source.name)
    return {record.name: record for record in records}, directory


def data_start(record: Record, local_header: bytes | memoryview, name: str) -> int:
    """Where the record's data begin, from its local header; checked against the directory.

    The local extra field differs from the directory's (torch pads with it), so this must be read.
    """
    fields = LOCAL_HEADER.unpack_from(local_header)
    signature, _, flags, method, *_, name_length, extra_length = fields
    stored_name = bytes(local_header[LOCAL_HEADER.size :])
    if signature != b"PK\3\4" or name_length != len(record.name_bytes):
        raise malformed(name, f"record {record.name!r} is not where the directory says")
    if stored_name != record.name_bytes or method != 0 or flags & 1:
        raise malformed(name, f"record {record.name!r} contradicts the directory")
    start = record.header_stop + int(extra_length)
    if start + record.size > record.slot_stop:
        raise malformed(name, f"record {record.name!r} runs into the next one")
    return start


def malformed(name: str, what: str) -> MalformedError:
    """The error for an archive that cannot be trusted."""
    return MalformedError(
        f"{name}: not a sound PyTorch archive: {what}", hint="download or save the file again"
    )


def _find_end(tail: bytes) -> int | None:
    """Position in `tail` of the end record: the one whose comment reaches the end of the file."""
    position = len(tail)
    while (position := tail.rfind(b"PK\5\6", 0, position)) >= 0:
        if position + _END.size <= len(tail):
            comment = _END.unpack_from(tail, position)[-1]
            if position + _END.size + comment == len(tail):
                return position
    return None


def _end_record(source: ByteSource, tail: bytes, tail_start: int, end: int) -> tuple[int, int, int]:
    """Number of records, and size and offset of the directory, which must end where it is said."""
    _, disk, start_disk, here, count, size, offset, _ = _END.unpack_from(tail, end)
    stop = tail_start + end
    locator = end - _LOCATOR64.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
        _, _, stop, _ = _LOCATOR64.unpack_from(tail, locator)
        if not 0 <= stop <= tail_start + locator - _END64.size:
            raise malformed(source.name, "its zip64 end record lies outside the file")
        raw = _slice(source, tail, tail_start, stop, stop + _END64.size)
        signature, _, _, _, disk, start_disk, here, count, size, offset = _END64.unpack(raw)
        if signature != b"PK\6\6":
            raise malformed(source.name, "its zip64 end record is damaged")
    if disk or start_disk or here != count:
        raise malformed(source.name, "it is one part of a split archive")
    if offset + size != stop:
        raise malformed(source.name, "its directory is not where its end record says")
    return count, size, offset


def _slice(source: ByteSource, tail: bytes, tail_start: int, start: int, stop: int) -> bytes:
    """The bytes of `[start, stop)`, of which those in `tail` are not read again."""
    if start >= tail_start:
        return tail[start - tail_start : stop - tail_start]
    before = source.read(start, min(stop, tail_start))
    return before + tail[: max(0, stop - tail_start)]


def _records(directory: bytes, count: int, directory_start: int, name: str) -> list[Record]:
    """The directory's records in the order of their places, none overlapping the next."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for record_name, header_offset, size, name_bytes in _entries(directory, count, name):
        if record_name in found:
            raise malformed(name, f"it has two records named {record_name!r}")
        found[record_name] = (header_offset, size, name_bytes)
    records: list[Record] = []
    slot_stop = directory_start
    for record_name, place in sorted(found.items(), key=lambda item: item[1], reverse=True):
        header_offset, size, name_bytes = place
        record = Record(record_name, header_offset, size, name_bytes, slot_stop)
        if record.header_stop + size > slot_stop:
            raise malformed(name, f"record {record_name!r} overlaps what follows it")
        records.append(record)
        slot_stop = header_offset
    return records[::-1]


def _entries(directory: bytes, count: int, name: str) -> Iterator[tuple[str, int, int, bytes]]:
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > len(directory):
            raise malformed(name, "its directory ends early")
        fields = _CENTRAL.unpack_from(directory, position)
        signature, _, _, flags, method, _, _, _, packed, size = fields[:10]
        name_length, extra_length, comment_length, _, _, _, offset = fields[10:]
        stop = position + _CENTRAL.size + name_length + extra_length + comment_length
        if signature != b"PK\1\2" or stop > len(directory):
            raise malformed(name, "its directory is damaged")
        name_start = position + _CENTRAL.size
        name_bytes = directory[name_start : name_start + name_length]
        try:
            record_name = name_bytes.decode("utf-8")
        except UnicodeDecodeError as error:
            raise malformed(name, f"it has a record named {name_bytes[:40]!r}") from error
        if method != 0 or flags & 1:
            raise _packed(name, record_name, "encrypted" if flags & 1 else "compressed")
        extra = directory[name_start + name_length : name_start + name_length + extra_length]
        size, packed, offset = _zip64(extra, (size, packed, offset), name)
        if size != packed:
            raise malformed(name, f"record {record_name!r} has two sizes, {packed} and {size}")
        yield record_name, offset, size, name_bytes
        position = stop
    if position != len(directory):
        raise malformed(name, "its directory is longer than its records")


def _packed(name: str, record_name: str, how: str) -> SpectrakitError:
    if "/code/" in record_name:
        return UnsupportedError(
            f"{name} is a TorchScript program, not a state dict",
            hint="load it with torch.jit.load and save its state_dict()",
        )
    return malformed(name, f"record {record_name!r} is {how}, which torch.save never does")


def _zip64(extra: bytes, values: tuple[int, int, int], name: str) -> tuple[int, int, int]:
    """`values` with those that did not fit 32 bits taken from the zip64 extra field."""
    if 0xFFFFFFFF not in values:
        return values
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            wide = iter(struct.iter_unpack("<Q", extra[position + 4 :][: length // 8 * 8]))
            try:
                size, packed, offset = (v if v != 0xFFFFFFFF else next(wide)[0] for v in values)
            except (StopIteration, RuntimeError) as error:
                raise malformed(name, "a zip64 field is too short") from error
            return size, packed, offset
        position += 4 + length
    return values
