"""A GGUF file, or the parts of one that was split: its tensors under the names of transformers."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.byte_sources import Fetched, Span
from spectrakit.checkpoints.content import GGUF
from spectrakit.checkpoints.entries import CheckpointFile, Packed, TensorEntry
from spectrakit.checkpoints.gguf.families import UNSAID, family_of
from spectrakit.checkpoints.gguf.header import Header, read_header
from spectrakit.checkpoints.gguf.metadata import ARCHITECTURE, Metadata
from spectrakit.checkpoints.gguf.naming import Made, made_of
from spectrakit.checkpoints.joined_files import JoinedFiles
from spectrakit.checkpoints.safetensors_header import row_major
from spectrakit.checkpoints.turns import Slice
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from spectrakit.checkpoints.byte_sources import ByteSource
    from spectrakit.checkpoints.gguf.header import Described

_SHORT_BYTES = 16 * 1024
_SPLIT_COUNT, _SPLIT_NUMBER = "split.count", "split.no"


class GGUFFile:
    """All parts of a GGUF file as one, of their bytes end to end."""

    def __init__(self, sources: Sequence[ByteSource], paths: Sequence[str]) -> None:
        """Read the headers of the parts `paths`, which are behind `sources`, in their order.

        Raises `MalformedError` where one is damaged or is not a part of the same model,
        `UnsupportedError` for versions that are not read here.
        """
        joined = JoinedFiles(sources, sources[0].name)
        self.source: ByteSource = sources[0] if len(sources) == 1 else joined
        self.file = CheckpointFile(paths[0], GGUF, joined.size)
        headers = [read_header(source) for source in sources]
        _check_parts(headers, paths)
        self.directory = hashlib.sha256(b"".join(each.digest for each in headers)).digest()
        self._stored = _placed(headers, joined.starts, self.source.name)
        shapes = {name: tensor.shape for name, tensor in self._stored.items()}
        self.metadata = Metadata(headers[0].values, shapes, self.source.name, self._numbers)
        family = family_of(self.metadata.architecture)
        self.unsaid: tuple[str, ...] = ()  #: what of its config GGUF has no key for
        if family is None:  # listed as they are
            self.config: dict[str, Any] = {ARCHITECTURE: self.metadata.architecture}
            made = [Made(name, (name,), shape, None) for name, shape in shapes.items()]
        else:
            self.config = family.config(self.metadata)
            self.unsaid = UNSAID.get(self.config.get("model_type", ""), ())
            made = made_of(self.metadata, family.naming(self.metadata))
        self._made = {each.name: each for each in made}
        if len(self._made) != len(made):
            raise MalformedError(
                f"{self.source.name} has two tensors for one of its model's",
                hint="convert the original model again",
            )
        self.entries: Mapping[str, TensorEntry] = {each.name: self._entry(each) for each in made}

    def needs(self, entry: TensorEntry) -> list[Span]:
        """The bytes of the tensors that it is made of."""
        stored = [self._stored[name] for name in self._made[entry.name].sources]
        return [Span(each.offset, each.offset + each.size) for each in stored]

    def content(self, entry: TensorEntry, fetched: Fetched) -> tuple[TensorEntry, memoryview]:
        """`entry`, row-major, and its bytes."""
        made = self._made[entry.name]
        (first, *_) = stored = [self._stored[name] for name in made.sources]
        if made.turn is None and not entry.packed:
            return entry, fetched.view(first.offset, first.offset + first.size)
        from spectrakit.checkpoints.materialize import bytes_of

        tensors = [self._values(each, fetched) for each in stored]
        values = tensors[0] if made.turn is None else made.turn.values(tensors)
        return entry, bytes_of(entry, values)

    def _values(self, tensor: Described, fetched: Fetched) -> torch.Tensor:
        from spectrakit.checkpoints.gguf.dequantise import values_of

        data = fetched.view(tensor.offset, tensor.offset + tensor.size)
        return values_of(tensor, _plain(tensor, self.file.path), data)

    def _numbers(self, name: str) -> tuple[float, ...]:
        """The values of a short list of float32. Raises MalformedError where it is none."""
        tensor = self._stored[name]
        if len(tensor.shape) != 1 or tensor.type_name != "F32" or tensor.size > _SHORT_BYTES:
            found = f"{tensor.type_name} {list(tensor.shape)}"
            raise MalformedError(
                f"{self.source.name}: {name} is {found}, not a short list of numbers",
                hint="convert the original model again",
            )
        data = self.source.read(tensor.offset, tensor.offset + tensor.size)
        return tuple(number for (number,) in struct.iter_unpack("<f", data))

    def _entry(self, made: Made) -> TensorEntry:
        stored = [self._stored[name] for name in made.sources]
        size = sum(each.size for each in stored)
        offset, strides = stored[0].offset, row_major(made.shape)
        if isinstance(made.turn, Slice):
            offset += size // made.turn.count * made.turn.index
        unknown = next((each for each in stored if each.type is None), None)
        if unknown is not None:
            name = unknown.type_name
            return TensorEntry(made.name, name, made.shape, strides, self.file.path, offset, size)
        plain = _plain(stored[0], self.file.path) if made.turn is None else None
        packed = "/".join(dict.fromkeys(e.type_name for e in stored if _plain(e, "") is None))
        return TensorEntry(
            made.name,
            "F32" if plain is None else plain.dtype,
            made.shape,
            strides,
            self.file.path,
            offset,
            packed=Packed(packed, size) if packed else None,
        )


def _plain(tensor: Described, path: str) -> TensorEntry | None:
    """A tensor as an entry, where it is not quantised."""
    if tensor.type is None or tensor.type.dtype is None:
        return None
    strides = row_major(tensor.shape)
    return TensorEntry(tensor.name, tensor.type.dtype, tensor.shape, strides, path, tensor.offset)


def _check_parts(headers: Sequence[Header], paths: Sequence[str]) -> None:
    for number, (header, path) in enumerate(zip(headers, paths, strict=True)):
        count = header.values.get(_SPLIT_COUNT, 1) or 1
        if count != len(headers) or header.values.get(_SPLIT_NUMBER, 0) != number:
            raise MalformedError(
                f"{path} is part {header.values.get(_SPLIT_NUMBER)} of {count}, and was opened as"
                f" part {number} of {len(headers)}",
                hint="keep the names that the parts had: NAME-00001-of-00003.gguf",
            )


def _placed(headers: Sequence[Header], starts: Sequence[int], name: str) -> dict[str, Described]:
    """The tensors of all parts, at their places in the whole."""
    placed: dict[str, Described] = {}
    for header, start in zip(headers, starts, strict=False):
        for tensor in header.tensors:
            if tensor.name in placed:
                raise MalformedError(
                    f"{name}: tensor {tensor.name!r} is in two parts",
                    hint="download or convert the file again",
                )
            placed[tensor.name] = replace(tensor, offset=start + tensor.offset)
    return placed
