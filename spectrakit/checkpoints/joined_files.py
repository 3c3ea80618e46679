"""Several files as one, laid end to end."""

from __future__ import annotations

import bisect
from itertools import accumulate
from typing import TYPE_CHECKING

from spectrakit.checkpoints.byte_sources import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spectrakit.checkpoints.byte_sources import Advance, ByteSource


class JoinedFiles:
    """A `ByteSource` of the bytes of `sources`, in their order."""

    def __init__(self, sources: Sequence[ByteSource], name: str) -> None:
        """name: what errors call the whole."""
        self.name = name
        self.remote = any(source.remote for source in sources)
        self.starts = [0, *accumulate(source.size for source in sources)]  #: of each file, and end
        self.size = self.starts[-1]
        self._sources = sources

    def read(self, start: int, stop: int) -> bytes:
        """Exactly the bytes of `[start, stop)`."""
        return b"".join(
            self._sources[i].read(part.start, part.stop) for i, part in self._parts(start, stop)
        )

    def fetch(self, spans: Sequence[Span], advance: Advance) -> list[memoryview]:
        """One writable buffer per span, in the spans' order; one batch of each file."""
        wanted: dict[int, list[Span]] = {}
        for span in spans:
            for i, part in self._parts(*span):
                wanted.setdefault(i, []).append(part)
        got = {i: iter(self._sources[i].fetch(parts, advance)) for i, parts in wanted.items()}
        return [_joined([next(got[i]) for i, _ in self._parts(*span)]) for span in spans]

    def close(self) -> None:
        """Close all."""
        for source in self._sources:
            source.close()

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, Span]]:
        """The files that `[start, stop)` lies in, and the span in each."""
        i = bisect.bisect_right(self.starts, start) - 1
        while start < stop and i < len(self._sources):
            here = min(stop, self.starts[i + 1])
            if here > start:
                yield i, Span(start - self.starts[i], here - self.starts[i])
            start, i = max(start, here), i + 1


def _joined(parts: list[memoryview]) -> memoryview:
    return parts[0] if len(parts) == 1 else memoryview(bytearray(b"".join(parts)))
