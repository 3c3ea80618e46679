"""Files written by `torch.save` since PyTorch 1.6, read without torch and without running a pickle.

A zip archive of stored records under one folder, whose name varies:

    data.pkl              the state dict, tensors as references to storages (see unpickler.py)
    data/<key>            the bytes of a storage
    byteorder             "little" (since 2.1)
    .storage_alignment    what storages are aligned to (since 2.6; 64 bytes before)

Two reads index it, near or far: the end of the file, and the records at its front. Where a
storage's bytes begin depends on its local header; that is predicted by torch's own rule while
indexing and verified when the bytes are read, in the same range as they are.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit.checkpoints.byte_sources import ByteSource, Fetched, Span
from spectrakit.checkpoints.content import TORCH_ZIP
from spectrakit.checkpoints.entries import ITEM_BYTES, CheckpointFile, TensorEntry, Withheld
from spectrakit.checkpoints.state_dict import flatten
from spectrakit.checkpoints.stored_tensors import Storage, StoredTensor
from spectrakit.checkpoints.uncollected import uncollected
from spectrakit.checkpoints.unpickler import MAX_PICKLE_BYTES, load_state
from spectrakit.checkpoints.withheld import (
    check_no_object,
    check_not_only_objects,
    hidden_in,
    is_kept,
    withheld,
)
from spectrakit.checkpoints.zip_directory import (
    Record,
    data_start,
    malformed,
    read_directory,
)
from spectrakit.errors import MalformedError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger("spectrakit")

#: Names of what was not loaded, in a note.
_SHOWN = 8
_MAX_EXTRA = 0xFFFF
_DEFAULT_ALIGNMENT = 64
#: A tensor may repeat its storage (`expand`), but not into more elements than this.
_MAX_EXPANDED = 2**28


class TorchZip:
    """A torch archive opened: its tensors, and how to read them."""

    def __init__(self, source: ByteSource, path: str) -> None:
        """Index the archive behind `source`, the file `path` of the checkpoint.

        Raises `MalformedError` for a damaged or unsafe archive, for pickled modules and for
        PyTorch's formats before 1.6, `UnsupportedError` for TorchScript, big-endian storages and
        files without tensors.
        """
        self.source = source
        self.file = CheckpointFile(path, TORCH_ZIP, source.size)
        with uncollected():
            self.entries, self.directory = self._indexed()

    def _indexed(self) -> tuple[Mapping[str, TensorEntry], bytes]:
        source = self.source
        self._records, directory = read_directory(source)
        self._root = self._find_root()
        pickled = self._read_front()
        saved = load_state(pickled, source.name)
        _mention(saved.skipped, source.name)
        check_no_object(saved, source.name)
        kept = flatten(saved.value, source.name, is_kept)
        check_not_only_objects(saved, kept, source.name)
        reasons = withheld(kept, saved, source.name)
        self._record_of: dict[str, Record] = {}
        entries = {
            name: self._entry(name, value, reasons.get(name)) for name, value in kept.items()
        }
        return entries, directory + pickled

    def needs(self, entry: TensorEntry) -> list[Span]:
        """The storage's local header and the tensor's own bytes."""
        record = self._record_of.get(entry.name)
        if record is None:
            return []
        return [
            Span(record.header_offset, record.header_stop),
            Span(entry.offset, entry.offset + entry.span),
        ]

    def settle(self, entry: TensorEntry, fetched: Fetched) -> TensorEntry:
        """`entry` at the offset that the storage's local header gives."""
        record = self._record_of[entry.name]
        header = fetched.view(record.header_offset, record.header_stop)
        shift = data_start(record, header, self.source.name) - self._predict(record)
        if shift == 0:
            return entry
        return replace(entry, offset=entry.offset + shift)

    def content(self, entry: TensorEntry, fetched: Fetched) -> tuple[TensorEntry, memoryview]:
        """`entry` at its exact place, and its bytes."""
        exact = self.settle(entry, fetched)
        return exact, fetched.view(exact.offset, exact.offset + exact.span)

    def _find_root(self) -> str:
        """The folder that everything is in, with its slash."""
        roots = [
            n.removesuffix("data.pkl") for n in self._records if n.rpartition("/")[2] == "data.pkl"
        ]
        if len(roots) != 1:
            raise malformed(self.source.name, f"it has {len(roots)} records named data.pkl")
        return roots[0]

    def _read_front(self) -> bytes:
        """The pickle; reads the other small records with it and learns how torch aligned."""
        pickle = self._records[f"{self._root}data.pkl"]
        if pickle.size > MAX_PICKLE_BYTES:
            raise malformed(self.source.name, f"its pickle claims {pickle.size:,} bytes")
        names = [f"{self._root}{name}" for name in ("byteorder", ".storage_alignment")]
        small = [
            self._records[n] for n in names if n in self._records and self._records[n].size <= 64
        ]
        fetched = Fetched(self.source, [_whole(r) for r in (pickle, *small)], lambda _: None)
        contents = {record.name: self._content(record, fetched) for record in (pickle, *small)}
        byteorder = contents.get(names[0], b"little")
        if byteorder != b"little":
            raise UnsupportedError(f"{self.source.name} is stored {byteorder!r}-endian")
        alignment = contents.get(names[1], b"")
        self._alignment = _alignment(alignment)
        # Archives that were packed again by another program are not aligned; theirs have one
        # constant extra field, mostly none.
        header = fetched.view(pickle.header_offset, pickle.header_stop)
        actual = data_start(pickle, header, self.source.name)
        self._foreign_extra: int | None = None
        if self._predict(pickle) != actual:
            self._foreign_extra = actual - pickle.header_stop
        return contents[pickle.name]

    def _content(self, record: Record, fetched: Fetched) -> bytes:
        header = fetched.view(record.header_offset, record.header_stop)
        start = data_start(record, header, self.source.name)
        return bytes(fetched.view(start, start + record.size))

    def _predict(self, record: Record) -> int:
        """Where torch puts the record's bytes: after an extra field that aligns them.

        The field has a header of 4 bytes, and zip64 fields come before it from 4 GiB on
        (`getPadding` in caffe2/serialize/inline_container.cc).
        """
        last = record.slot_stop - record.size
        if self._foreign_extra is not None:
            return min(record.header_stop + self._foreign_extra, last)
        start = record.header_stop + 4
        wide_size, wide_offset = record.size >= 2**32 - 1, record.header_offset >= 2**32 - 1
        if wide_size or wide_offset:
            start += 4 + 16 * wide_size + 8 * wide_offset
        return min(-(-start // self._alignment) * self._alignment, last)

    def _entry(self, name: str, value: object, reason: Withheld | None) -> TensorEntry:
        if isinstance(value, StoredTensor):
            entry = self._stored(name, value)
            return entry if reason is None else replace(entry, withheld=reason)
        return _hidden(name, hidden_in(value), self.file.path, reason)

    def _stored(self, name: str, tensor: StoredTensor) -> TensorEntry:
        record = self._records.get(f"{self._root}data/{tensor.key}")
        if record is None:
            raise self._bad(name, f"refers to storage {tensor.key!r}, which is not there")
        item = ITEM_BYTES[tensor.dtype]
        storage_item = 1 if tensor.storage_dtype is None else ITEM_BYTES[tensor.storage_dtype]
        storage_bytes = tensor.storage_elements * storage_item
        if storage_bytes > record.size:
            raise self._bad(
                name, f"needs a storage of {storage_bytes} bytes, {tensor.key!r} has {record.size}"
            )
        start = tensor.offset * item if math.prod(tensor.shape) else 0  # nothing lies anywhere
        offset = self._predict(record) + start
        entry = TensorEntry(
            name, tensor.dtype, tensor.shape, tensor.strides, self.file.path, offset
        )
        if start + entry.span > storage_bytes:
            raise self._bad(name, f"reaches past the end of storage {tensor.key!r}")
        if entry.elements > max(_MAX_EXPANDED, storage_bytes // item):
            raise self._bad(name, f"claims {entry.elements:,} elements of {storage_bytes} bytes")
        self._record_of[name] = record
        return entry

    def _bad(self, tensor: str, what: str) -> MalformedError:
        return malformed(self.source.name, f"tensor {tensor!r} {what}")


def _mention(skipped: Sequence[str], name: str) -> None:
    """Say what of the pickle in the file `name` was not loaded."""
    if not skipped:
        return
    shown = ", ".join(skipped[:_SHOWN])
    more = f" and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    logger.info("%s: not loaded beside the tensors: %s%s", name, shown, more)


def _hidden(
    name: str, inside: StoredTensor | Storage | None, file: str, reason: Withheld | None
) -> TensorEntry:
    """An entry for something that hides a tensor: with that one's layout, and without bytes."""
    dtype = "U8"
    shape: tuple[int, ...] = (0,)
    strides: tuple[int, ...] = (1,)
    if isinstance(inside, StoredTensor):
        dtype, shape, strides = inside.dtype, inside.shape, inside.strides
    elif inside is not None:
        dtype, shape = inside.dtype or dtype, (inside.elements,)
    return TensorEntry(name, dtype, shape, strides, file, 0, stored=0, withheld=reason)


def _alignment(stored: bytes) -> int:
    """What the record `.storage_alignment` says, where it can be true."""
    value = int(stored) if stored.isdigit() and len(stored) <= 5 else 0
    return value or _DEFAULT_ALIGNMENT


def _whole(record: Record) -> Span:
    """Header, extra field and data of a small record."""
    longest = record.header_stop + _MAX_EXTRA + record.size
    return Span(record.header_offset, min(record.slot_stop, longest))
