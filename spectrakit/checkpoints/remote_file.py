"""A file on the Hub, read by HTTP ranges."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spectrakit.checkpoints.byte_sources import Advance, Span
from spectrakit.checkpoints.hub_http import HubHttp, Transient, refusal
from spectrakit.errors import NetworkError
from spectrakit.wording import given

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx2

#: Ranges asked for at the same time.
IN_FLIGHT = 6
#: A larger range is asked for in pieces: they travel side by side, and a failure costs one.
PIECE_BYTES = 16 * 1024 * 1024

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class RemoteFile:
    """One file of a commit on the Hub.

    The Hub redirects large files to signed addresses of another host. The first answer's address is
    used for the ranges after it, without the token, and asked for anew when it has expired.
    """

    remote = True

    def __init__(
        self, http: HubHttp, url: str, size: int, repo_id: str, sha: str, path: str
    ) -> None:
        """The file `path` of `repo_id` at commit `sha`, `size` bytes, which `url` resolves."""
        self.name = f"{repo_id}/{path}"
        self.size = size
        self._http = http
        self._url = url
        self._direct: str | None = None
        self._repo_id, self._sha, self._path = repo_id, sha, path

    def read(self, start: int, stop: int) -> bytes:
        """The bytes of `[start, stop)`. Raises what `fetch` raises."""
        return bytes(self.fetch([Span(start, stop)], lambda _: None)[0])

    def fetch(self, spans: Sequence[Span], advance: Advance) -> list[memoryview]:
        """The bytes of each span, several requests at a time, each retried on its own.

        Raises `NetworkError` when the Hub refuses or a range cannot be had after all retries.
        """
        buffers = [memoryview(bytearray(span.length)) for span in spans]
        pieces = [
            (span.start + i, buffer[i : i + PIECE_BYTES])
            for span, buffer in zip(spans, buffers, strict=True)
            for i in range(0, span.length, PIECE_BYTES)
        ]
        given_up = threading.Event()
        lock = threading.Lock()

        def told(count: int) -> None:
            with lock:
                advance(count)

        if len(pieces) == 1:
            self._fill(*pieces[0], told, given_up)
            return buffers
        with ThreadPoolExecutor(max(1, min(IN_FLIGHT, len(pieces)))) as pool:
            futures = [pool.submit(self._fill, *piece, told, given_up) for piece in pieces]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:  # Ctrl-C too: the others must not go on for minutes
                given_up.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return buffers

    def close(self) -> None:
        """Nothing is held: the connections are huggingface_hub's."""

    def _fill(
        self, start: int, target: memoryview, advance: Advance, given_up: threading.Event
    ) -> None:
        """Fill `target` from the byte `start` on; a retry goes on where the last attempt ended."""
        filled = 0

        def attempt() -> None:
            nonlocal filled
            with self._range(start + filled, start + len(target)) as body:
                for chunk in body:
                    if given_up.is_set():
                        raise NetworkError(f"{self.name}: reading was given up")
                    if filled + len(chunk) > len(target):
                        raise NetworkError(f"{self.name}: the server sent more than was asked for")
                    target[filled : filled + len(chunk)] = chunk
                    filled += len(chunk)
                    self._http.traffic.count(bytes_read=len(chunk))
                    advance(len(chunk))
            if filled < len(target):
                raise Transient(f"the connection ended after {filled:,} of {len(target):,} bytes")

        self._http.retrying(f"reading {self.name}", attempt, given_up)

    @contextmanager
    def _range(self, start: int, stop: int) -> Iterator[Iterator[bytes]]:
        address = self._direct
        headers = {"range": f"bytes={start}-{stop - 1}"}
        with self._http.get(address or self._url, headers) as response:
            if address is not None and response.status_code in {401, 403, 404, 410}:
                self._direct = None
                raise Transient("the signed address has expired", wait=0)
            self._check(response, start, stop)
            self._direct = str(response.url)
            yield response.iter_raw()

    def _check(self, response: httpx2.Response, start: int, stop: int) -> None:
        """The answer must be the range that was asked for, of the file that was announced."""
        status = response.status_code
        if status == 200 and (start, stop) == (0, self.size):
            return
        if status == 200:
            raise NetworkError(
                f"{self.name}: the server ignores byte ranges, and would send all"
                f" {self.size:,} bytes",
                hint=given(full_download=True),
            )
        if status == 206 and response.headers.get("content-encoding", "identity") != "identity":
            raise NetworkError(f"{self.name}: the server compresses ranges")
        if status != 206:
            if status == 416:
                raise NetworkError(
                    f"{self.name} has no bytes {start}-{stop - 1}: its size is wrong"
                )
            raise refusal(
                status, response.headers, self._http, self._repo_id, self._sha, self._path
            )
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if found is None or (int(found[1]), int(found[2])) != (start, stop - 1):
            raise NetworkError(f"{self.name}: the server sent another range than was asked for")
        if found[3] not in {"*", str(self.size)}:
            raise NetworkError(
                f"{self.name} has {found[3]} bytes, the Hub's listing says {self.size}"
            )
