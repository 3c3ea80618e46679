"""A short name for the content of local files, in place of the commit that they do not have.

`local-<12 hex>` is of every byte: config, index, tokenizer files and weight files. Two checkpoints
with the same one are the same checkpoint.

`local-part-<12 hex>` is of config, index, the weight files' names, sizes and directories (the
safetensors header; zip directory, with a checksum of every record, and pickle), the whole content
of the tensors that were asked for, and 16 evenly spaced samples of 64 KiB of each file. Two with
the same one agree in everything that weights mode reads; a few bytes of any other tensor of a
safetensors file may differ.

`headers-<12 hex>` is of what describes the tensors alone: config, index, the weight files' names,
sizes and directories. Two commits of a Hub repository with the same one hold tensors of the same
names and shapes; in torch files, whose directories have checksums, of the same content too.

All are the first 48 bits of a SHA-256: they identify, they do not authenticate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from spectrakit.checkpoints.byte_sources import Advance, ByteSource
    from spectrakit.checkpoints.stores import Store
    from spectrakit.checkpoints.weights import WeightFile

#: Weight files of up to so many bytes in all are always hashed whole: it takes no time.
WHOLE_BYTES = 16 << 20
SAMPLES = 16
SAMPLE_BYTES = 64 * 1024
_CHUNK = 8 << 20

#: What a run on text reads beside config and weights, where it is there.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class LocalContent:
    """The files of a checkpoint on this disk; config: its bytes; placed: tensors to their files."""

    store: Store
    config: bytes
    placed: Mapping[str, str]
    weights: tuple[WeightFile, ...]

    @property
    def size(self) -> int:
        """Bytes of the weight files."""
        return sum(weights.source.size for weights in self.weights)

    def whole(self, advance: Advance) -> str:
        """The fingerprint of every byte; `advance` is told those of the weight files."""
        digest = self._begun()
        for name in TOKENIZER_FILES:
            with suppress(MalformedError):  # a link out of the folder, which no run follows either
                path = self.store.path(name)
                if path is not None:
                    _feed(digest, name.encode(), path.read_bytes())
        for weights in self.weights:
            for start, stop in _chunks(weights.source.size):
                digest.update(weights.source.read(start, stop))
                advance(stop - start)
        return f"local-{digest.hexdigest()[:12]}"

    def part(self, tensors: Iterable[tuple[str, memoryview]]) -> str:
        """The fingerprint of samples, and of the content of `tensors` by name."""
        digest = self._begun()
        for name, content in tensors:
            _feed(digest, name.encode("utf-8", "surrogateescape"), content)
        for weights in self.weights:
            for start, stop in _samples(weights.source.size):
                _feed(digest, weights.source.read(start, stop))
        return f"local-part-{digest.hexdigest()[:12]}"

    def headers(self) -> str:
        """The fingerprint of what describes the tensors; no tensor is read."""
        return f"headers-{self._begun().hexdigest()[:12]}"

    def _begun(self) -> hashlib._Hash:
        """A digest of what describes the tensors."""
        digest = hashlib.sha256()
        _feed(digest, self.config)
        for tensor, file in sorted(self.placed.items()):
            _feed(digest, *(text.encode("utf-8", "surrogateescape") for text in (tensor, file)))
        for weights in self.weights:
            source: ByteSource = weights.source
            path = weights.file.path.encode("utf-8", "surrogateescape")
            _feed(digest, path, source.size.to_bytes(8, "little"), weights.directory)
        return digest


def _feed(digest: hashlib._Hash, *parts: bytes | memoryview) -> None:
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))  # so that no two sequences run together
        digest.update(part)


def _chunks(size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, _CHUNK):
        yield start, min(start + _CHUNK, size)


def _samples(size: int) -> list[tuple[int, int]]:
    if size <= SAMPLES * SAMPLE_BYTES:
        return [(0, size)]
    step = (size - SAMPLE_BYTES) / (SAMPLES - 1)
    starts = [round(i * step) for i in range(SAMPLES)]
    return [(start, start + SAMPLE_BYTES) for start in starts]
