"""A chunk of a tensor in `torch.distributed.checkpoint`: torch.save of a tensor by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.checkpoints.byte_sources import Fetched, Span
from spectrakit.checkpoints.content import TORCH_ZIP
from spectrakit.checkpoints.entries import CheckpointFile
from spectrakit.checkpoints.stored_tensors import StoredTensor
from spectrakit.checkpoints.torch_zip import TorchZip
from spectrakit.checkpoints.unpickler import load_state
from spectrakit.checkpoints.zip_directory import malformed, read_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spectrakit.checkpoints.byte_sources import Advance, ByteSource
    from spectrakit.checkpoints.entries import TensorEntry


def values_of(
    archive: memoryview, tensor: str, file: str, where: str
) -> tuple[TensorEntry, memoryview]:
    """The tensor in `archive`, whose bytes lie in `file`, as `tensor`; and its values.

    `where` is for errors: `MalformedError` for anything but one tensor.
    """
    source = _InMemory(archive, where)
    opened = _OneTensor(source, tensor, file)
    entry = opened.entries[tensor]
    return opened.content(entry, Fetched(source, opened.needs(entry), lambda _: None))


class _OneTensor(TorchZip):
    """An archive of a tensor by itself, under a name that is given to it."""

    def __init__(self, source: ByteSource, tensor: str, path: str) -> None:
        self.source = source
        self.file = CheckpointFile(path, TORCH_ZIP, source.size)
        self._records, self.directory = read_directory(source)
        self._root = self._find_root()
        stored = load_state(self._read_front(), source.name).value
        if not isinstance(stored, StoredTensor):
            raise malformed(source.name, f"it holds a {type(stored).__name__}, not one tensor")
        self._record_of = {}
        self.entries = {tensor: self._entry(tensor, stored, None)}


class _InMemory:
    """Bytes that were fetched, as a file."""

    remote = False

    def __init__(self, data: memoryview, name: str) -> None:
        self.name = name
        self.size = len(data)
        self._data = data

    def read(self, start: int, stop: int) -> bytes:
        """The bytes of `[start, stop)`."""
        return bytes(self._data[start:stop])

    def fetch(self, spans: Sequence[Span], advance: Advance) -> list[memoryview]:
        """Windows of them."""
        for span in spans:
            advance(span.length)
        return [self._data[span.start : span.stop] for span in spans]

    def close(self) -> None:
        """There is nothing to close."""
