"""Checkpoints of `torch.distributed.checkpoint`, FSDP's among them, read tensor by tensor.

    .metadata            what there is: see dcp_metadata.py
    __0_0.distcp, ...    chunks of tensors, each an archive of torch.save of its own

Only `.metadata` is read to open one. A tensor's chunks are read whole, a kilobyte more than their
values; where in its archive a chunk's values lie is then known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.byte_sources import Fetched, Span
from spectrakit.checkpoints.dcp_chunk import values_of
from spectrakit.checkpoints.dcp_metadata import Chunk, SavedTensor, read_metadata
from spectrakit.checkpoints.entries import CheckpointFile, TensorEntry
from spectrakit.checkpoints.joined_files import JoinedFiles
from spectrakit.checkpoints.parts import plain_name
from spectrakit.checkpoints.safetensors_header import row_major
from spectrakit.checkpoints.shards import DCP, DCP_METADATA
from spectrakit.checkpoints.state_dict import flatten
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spectrakit.checkpoints.byte_sources import ByteSource
    from spectrakit.checkpoints.stores import Store


class DistributedCheckpoint:
    """All files of a distributed checkpoint as one, of their bytes end to end."""

    def __init__(self, store: Store) -> None:
        """Read `.metadata`.

        Raises `MalformedError` where that is damaged or a file that it names is not there,
        `UnsupportedError` where nothing in it is a model's.
        """
        self.directory = store.read_small(DCP_METADATA)
        where = f"{store.label}: {DCP_METADATA}"
        saved = read_metadata(self.directory, where)
        files = sorted({chunk.file for tensor in saved for chunk in tensor.chunks})
        _check_files(files, store, where)
        sources: list[ByteSource] = []
        try:
            sources.extend(store.source(file) for file in files)
            joined = JoinedFiles(sources, store.label)
            self.source: ByteSource = joined
            self._starts = dict(zip(files, joined.starts, strict=False))
            self._check_places(saved, dict(zip(files, sources, strict=True)), where)
            path = files[0] if len(files) == 1 else DCP_METADATA
            self.file = CheckpointFile(path, DCP, self.source.size)
            self._saved: dict[str, SavedTensor] = flatten(_nested(saved), where, _is_saved)
        except BaseException:
            for source in sources:
                source.close()
            raise
        self.entries: Mapping[str, TensorEntry] = {
            name: self._entry(name, tensor) for name, tensor in self._saved.items()
        }

    def needs(self, entry: TensorEntry) -> list[Span]:
        """Its chunks."""
        return [self._span(chunk) for chunk in self._saved[entry.name].chunks]

    def content(self, entry: TensorEntry, fetched: Fetched) -> tuple[TensorEntry, memoryview]:
        """`entry` and its bytes, of all chunks together."""
        parts = [
            (chunk.offsets, *self._values(entry, chunk, fetched))
            for chunk in self._saved[entry.name].chunks
        ]
        if len(parts) == 1:
            return parts[0][1:]
        from spectrakit.checkpoints.materialize import bytes_of_chunks

        return entry, bytes_of_chunks(entry, parts)

    def _values(
        self, entry: TensorEntry, chunk: Chunk, fetched: Fetched
    ) -> tuple[TensorEntry, memoryview]:
        where = f"{self.source.name}: {entry.name} in {chunk.file}"
        found, data = values_of(fetched.view(*self._span(chunk)), entry.name, chunk.file, where)
        if (found.dtype, found.shape) != (entry.dtype, chunk.sizes):
            raise MalformedError(
                f"{where} is {found.dtype} {list(found.shape)},"
                f" {DCP_METADATA} says {entry.dtype} {list(chunk.sizes)}"
            )
        return found, data

    def _span(self, chunk: Chunk) -> Span:
        start = self._starts[chunk.file] + chunk.start
        return Span(start, start + chunk.length)

    def _entry(self, name: str, tensor: SavedTensor) -> TensorEntry:
        start = self._span(tensor.chunks[0]).start if tensor.chunks else 0
        strides = row_major(tensor.shape)
        return TensorEntry(name, tensor.dtype, tensor.shape, strides, self.file.path, start)

    @staticmethod
    def _check_places(
        saved: Iterable[SavedTensor], sources: Mapping[str, ByteSource], where: str
    ) -> None:
        for tensor in saved:
            for chunk in tensor.chunks:
                size = sources[chunk.file].size
                if chunk.start + chunk.length > size:
                    message = f"{where} places {tensor.name} at byte {chunk.start + chunk.length}"
                    raise MalformedError(
                        f"{message} of {chunk.file}, which has {size}",
                        hint="copy the whole folder again, .metadata and every .distcp file",
                    )


def _check_files(files: Iterable[str], store: Store, where: str) -> None:
    there = store.names()
    for file in files:
        try:
            plain_name(file)
        except ValueError as error:
            raise MalformedError(f"{where} points outside its folder: {file!r}") from error
        if file not in there:
            raise MalformedError(
                f"{where} names {file}, which is not there",
                hint="copy the whole folder; every rank wrote a part of each tensor",
            )


def _is_saved(value: object) -> bool:
    return isinstance(value, SavedTensor)


def _nested(saved: Iterable[SavedTensor]) -> dict[str, Any]:
    """What was saved, as the dicts it was; of dicts around the whole, the inner one."""
    whole: dict[str, Any] = {}
    for tensor in saved:
        *outer, last = tensor.path
        inside = whole
        for key in outer:
            inside = inside.setdefault(key, {})
            if _is_saved(inside):
                raise MalformedError(f"{tensor.name} lies in a tensor")
        inside[last] = tensor
    while len(whole) == 1 and isinstance(inner := next(iter(whole.values())), dict):
        whole = inner
    return whole
