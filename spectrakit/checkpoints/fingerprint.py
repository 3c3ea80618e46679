"""A short name for the content of local files, in place of the commit that they do not have."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spectrakit.checkpoints.byte_sources import ByteSource

SAMPLES = 16
SAMPLE_BYTES = 64 * 1024


def fingerprint(config: bytes, files: Iterable[tuple[str, bytes, ByteSource]]) -> str:
    """`local-<12 hex>` of the config and of each weight file: `(name, directory bytes, source)`.

    SHA-256 over the config, and per file its name, size, directory (safetensors header, or zip
    directory and pickle) and 16 evenly spaced samples of 64 KiB. A file of up to 1 MiB is hashed
    whole; in a larger one a change to a few bytes between the samples goes unseen, while another
    training step, which changes every tensor, does not. It identifies; it does not authenticate.
    """
    digest = hashlib.sha256()
    _feed(digest, config)
    for name, directory, source in files:
        _feed(digest, name.encode("utf-8", "surrogateescape"))
        _feed(digest, source.size.to_bytes(8, "little"))
        _feed(digest, directory)
        for start, stop in _samples(source.size):
            _feed(digest, source.read(start, stop))
    return f"local-{digest.hexdigest()[:12]}"


def _feed(digest: hashlib._Hash, data: bytes) -> None:
    digest.update(len(data).to_bytes(8, "little"))  # so that no two sequences of parts run together
    digest.update(data)


def _samples(size: int) -> list[tuple[int, int]]:
    if size <= SAMPLES * SAMPLE_BYTES:
        return [(0, size)]
    step = (size - SAMPLE_BYTES) / (SAMPLES - 1)
    starts = [round(i * step) for i in range(SAMPLES)]
    return [(start, start + SAMPLE_BYTES) for start in starts]
