"""Weight files opened: the tensors of each, and what must be read to have one of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from spectrakit.checkpoints.byte_sources import ByteSource, Fetched, Span
from spectrakit.checkpoints.content import GGUF, SAFETENSORS, kind_of
from spectrakit.checkpoints.dcp import DistributedCheckpoint
from spectrakit.checkpoints.entries import CheckpointFile, TensorEntry
from spectrakit.checkpoints.gguf.files import GGUFFile
from spectrakit.checkpoints.not_a_zip import without_names
from spectrakit.checkpoints.safetensors_header import read_header
from spectrakit.checkpoints.shards import DCP, FORMATS, WeightFiles
from spectrakit.checkpoints.torch_zip import TorchZip
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.wording import named

logger = logging.getLogger("spectrakit")

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spectrakit.checkpoints.stores import Store


class WeightFile(Protocol):
    """One opened weight file."""

    file: CheckpointFile
    source: ByteSource
    entries: Mapping[str, TensorEntry]
    directory: bytes  # the bytes that describe the tensors, for the fingerprint

    def needs(self, entry: TensorEntry) -> list[Span]:
        """The bytes that reading `entry` takes."""

    def content(self, entry: TensorEntry, fetched: Fetched) -> tuple[TensorEntry, memoryview]:
        """`entry` as it lies in its bytes, which are of those that were fetched, and these."""


class SafetensorsFile:
    """A safetensors file: its header is exact, so nothing is to be found out later."""

    def __init__(self, source: ByteSource, path: str) -> None:
        """Read the header. Raises `MalformedError` and `UnsupportedError` (see `read_header`)."""
        self.source = source
        self.file = CheckpointFile(path, SAFETENSORS, source.size)
        self.entries: Mapping[str, TensorEntry]
        self.entries, self.directory = read_header(source, path)

    def needs(self, entry: TensorEntry) -> list[Span]:
        """The tensor's own bytes."""
        return [Span(entry.offset, entry.offset + entry.span)]

    def content(self, entry: TensorEntry, fetched: Fetched) -> tuple[TensorEntry, memoryview]:
        """`entry` as it is, and its bytes."""
        return entry, fetched.view(entry.offset, entry.offset + entry.span)


def open_weights(store: Store, chosen: WeightFiles) -> list[WeightFile]:
    """Open every file of `chosen` as what it is. Raises what the formats' readers raise.

    Raises UnsupportedError for a file that neither its content nor its name says to be weights.
    """
    if chosen.format == DCP:
        return [DistributedCheckpoint(store)]
    if chosen.format == GGUF and len(chosen.files) > 1:
        return [_open_parts(store, chosen.files)]
    opened: list[WeightFile] = []
    try:
        opened.extend(_open(store.source(name), name, chosen.format) for name in chosen.files)
    except BaseException:
        for weight_file in opened:
            weight_file.source.close()
        raise
    return opened


def _open(source: ByteSource, name: str, promised: str | None) -> WeightFile:
    try:
        # On the Hub a look takes a request of its own, and endings are what publishers keep to.
        known = promised if source.remote else None
        kind = known or kind_of(source) or promised
        if kind is None:
            if name.endswith(".eqx"):
                raise without_names(name)
            known_names = ", ".join(FORMATS)
            raise UnsupportedError(
                f"{name} is not a weight file that is read here ({known_names}, or what torch.save"
                " writes under any name)"
            )
        if kind == GGUF:
            return GGUFFile([source], [name])
        return SafetensorsFile(source, name) if kind == SAFETENSORS else TorchZip(source, name)
    except BaseException:
        source.close()
        raise


def _open_parts(store: Store, names: Sequence[str]) -> GGUFFile:
    sources: list[ByteSource] = []
    try:
        sources.extend(store.source(name) for name in names)
        return GGUFFile(sources, names)
    except BaseException:
        for source in sources:
            source.close()
        raise


def described_by(opened: Sequence[WeightFile]) -> Mapping[str, Any] | None:
    """The config that weight files hold themselves; None where they hold none."""
    if not opened or not isinstance(opened[0], GGUFFile):
        return None
    if opened[0].unsaid:
        keys, name = ", ".join(opened[0].unsaid), opened[0].file.path
        option = named("config")
        logger.info("%s: GGUF does not say %s; what is usual is taken (%s)", name, keys, option)
    return opened[0].config


def merge(opened: list[WeightFile], chosen: WeightFiles) -> dict[str, TensorEntry]:
    """The tensors of all files under their names, each from the file that the index says.

    Raises `MalformedError` when the index names a tensor that its file lacks, or when two files
    have a tensor of the same name and no index says which one is meant.
    """
    if len(opened) == 1 and not chosen.placed:
        return dict(opened[0].entries)
    tensors: dict[str, TensorEntry] = {}
    for weight_file in opened:
        for name, entry in weight_file.entries.items():
            if chosen.placed.get(name, entry.file) != entry.file:
                continue
            if name in tensors:
                raise MalformedError(
                    f"tensor {name!r} is in {tensors[name].file} and in {entry.file}"
                )
            tensors[name] = entry
    for name, file in chosen.placed.items():
        if name not in tensors:
            raise MalformedError(
                f"{chosen.index} places tensor {name!r} in {file}, which does not have it",
                hint="the index and its shards are not of the same checkpoint: download both again",
            )
    return tensors
