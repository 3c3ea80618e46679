"""Files as byte ranges: what a reader wants of a file, and how a local file answers.

A `ByteSource` is a file of known size, here or far away. Readers of headers take a few bytes with
`read`; readers of tensors ask for many ranges at once with `fetch`, so that near ranges travel
together and far ones travel at the same time.
"""

from __future__ import annotations

import bisect
import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from spectrakit.errors import MalformedError, UsageError

if TYPE_CHECKING:
    import io
    from pathlib import Path

#: Ranges closer than this are read together: the bytes between cost less than another request.
COALESCE_GAP = 64 * 1024
#: From here on a batch of a local file is mapped instead of copied.
MAP_FROM_BYTES = 64 * 1024 * 1024

#: What a first look at a file brings: most headers fit into it, so that opening costs one request.
LOOK_BYTES = 64 * 1024
#: A look at a small file takes no more than this part of it, or so many bytes.
_LOOK_SHARE, _LEAST_LOOK = 256, 8 * 1024

Advance = Callable[[int], None]


class Span(NamedTuple):
    """The bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


class Traffic:
    """Counts what was really read: bytes, and requests (reads, for a local file)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes_read = 0
        self.requests = 0

    def count(self, *, bytes_read: int = 0, requests: int = 0) -> None:
        """Add to the counters (from any thread)."""
        with self._lock:
            self.bytes_read += bytes_read
            self.requests += requests


def look_bytes(size: int, most: int = LOOK_BYTES) -> int:
    """How much of a file of `size` bytes a first look takes: `most`, of small files less.

    >>> look_bytes(10_000_000)
    39062
    """
    return min(size, most, max(_LEAST_LOOK, size // _LOOK_SHARE))


class ByteSource(Protocol):
    """A file that gives byte ranges."""

    remote: bool  #: whether ranges travel over the network

    @property
    def name(self) -> str:
        """The file, as errors name it."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    def read(self, start: int, stop: int) -> bytes:
        """Exactly the bytes of `[start, stop)`, a small range."""

    def fetch(self, spans: Sequence[Span], advance: Advance) -> list[memoryview]:
        """One writable buffer per span, in the spans' order; `advance` is told every byte."""

    def close(self) -> None:
        """Let go of the file; buffers handed out stay valid."""


def coalesce(spans: Iterable[Span], gap: int = COALESCE_GAP) -> list[Span]:
    """The fewest spans that cover `spans`, joining those less than `gap` bytes apart."""
    joined: list[Span] = []
    for span in sorted(span for span in spans if span.length > 0):
        if joined and span.start - joined[-1].stop < gap:
            joined[-1] = Span(joined[-1].start, max(joined[-1].stop, span.stop))
        else:
            joined.append(span)
    return joined


class Fetched:
    """What one batch has brought of a file, looked up by absolute position."""

    def __init__(self, source: ByteSource, spans: Iterable[Span], advance: Advance) -> None:
        self._source = source
        self._spans = coalesce(spans)
        self._starts = [span.start for span in self._spans]
        self._buffers = source.fetch(self._spans, advance)

    def view(self, start: int, stop: int) -> memoryview:
        """The bytes of `[start, stop)`; what the batch did not bring is read now."""
        if start == stop:
            return memoryview(b"")
        i = bisect.bisect_right(self._starts, start) - 1
        if i >= 0 and stop <= self._spans[i].stop:
            offset = start - self._starts[i]
            return self._buffers[i][offset : offset + stop - start]
        return self._source.fetch([Span(start, stop)], _nobody)[0]


class LocalFile:
    """A file on this disk.

    Small batches are copied, so that a file which is overwritten later (a training run saves again)
    cannot pull the pages away; large ones are mapped copy-on-write, so that a whole model is in
    memory once, and only the part of it that is used.
    """

    remote = False

    def __init__(self, path: Path, traffic: Traffic) -> None:
        """Open `path`; raises `UsageError` when that fails."""
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        self._closing = weakref.finalize(self, self._file.close)
        self.size = os.fstat(self._file.fileno()).st_size
        self.name = str(path)
        self._lock = threading.Lock()
        self._traffic = traffic

    def read(self, start: int, stop: int) -> bytes:
        """The bytes of `[start, stop)`. Raises `MalformedError` when the file became shorter."""
        return bytes(self._copy(Span(start, stop)))

    def fetch(self, spans: Sequence[Span], advance: Advance) -> list[memoryview]:
        """Copies of the spans, or windows of a private mapping when they are large."""
        if sum(span.length for span in spans) >= MAP_FROM_BYTES:
            buffers = self._map(spans)
        else:
            buffers = [memoryview(self._copy(span)) for span in spans]
        for span in spans:
            advance(span.length)
        return buffers

    def close(self) -> None:
        """Close the file; mapped tensors keep their own mapping."""
        self._closing()

    def _copy(self, span: Span) -> bytearray:
        buffer = bytearray(span.length)
        with self._lock:
            self._file.seek(span.start)
            got = _fill(self._file, memoryview(buffer))
        self._traffic.count(bytes_read=got, requests=1)
        if got != span.length:
            raise MalformedError(
                f"{self.name} ends at byte {span.start + got}, {span.stop} were expected:"
                " it changed while it was read",
                hint="wait until whatever writes it has finished, and run this again",
            )
        return buffer

    def _map(self, spans: Sequence[Span]) -> list[memoryview]:
        mapped = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY))
        for span in spans:
            self._traffic.count(bytes_read=span.length, requests=1)
        return [mapped[span.start : span.stop] for span in spans]


def _fill(file: io.FileIO, target: memoryview) -> int:
    """Read until `target` is full or the file ends; one call brings at most 2 GiB."""
    filled = 0
    while filled < len(target):
        count = file.readinto(target[filled:])
        if not count:
            break
        filled += count
    return filled


def _nobody(_: int) -> None:
    """Tell nobody."""
