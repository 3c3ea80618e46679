"""A commit of a Hub repository as a store of files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from spectrakit.checkpoints.byte_sources import ByteSource, LocalFile, Traffic
from spectrakit.checkpoints.hub_cache import CachedRepo
from spectrakit.checkpoints.hub_download import Wanted, download
from spectrakit.checkpoints.hub_http import HubHttp, clean_token
from spectrakit.checkpoints.hub_info import repo_info
from spectrakit.checkpoints.remote_file import RemoteFile
from spectrakit.checkpoints.stores import MAX_JSON_BYTES
from spectrakit.errors import MalformedError, UsageError
from spectrakit.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_ENDPOINT = "https://huggingface.co"


def endpoint() -> str:
    """The Hub's address: HF_ENDPOINT, as it is now, or the public one."""
    return os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT


def hub_http(token: str | None) -> HubHttp:
    """Requests to the Hub's address with `token`, or with the user's own where that is None.

    Raises `UsageError` for an address or a token that is none.
    """
    from huggingface_hub import constants, get_token

    if token is None and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        token = get_token()
    return HubHttp(endpoint(), clean_token(token), Traffic())


class HubCommit:
    """The files of one commit; what is in the cache is read there, the rest by ranges."""

    def __init__(
        self, http: HubHttp, repo_id: str, sha: str, sizes: Mapping[str, int], cache: Path
    ) -> None:
        """Use `resolve`."""
        self.repo_id = repo_id
        self.sha = sha
        self.traffic = http.traffic
        self._http = http
        self._sizes = sizes
        self._cache = cache
        self._cached = CachedRepo(cache, repo_id)

    @property
    def label(self) -> str:
        """Repository and commit."""
        return f"{self.repo_id}@{self.sha[:12]}"

    def names(self) -> frozenset[str]:
        """Names of the files at the top of the repository."""
        return frozenset(name for name in self._sizes if "/" not in name)

    def source(self, name: str) -> ByteSource:
        """The bytes of the file at the path `name`: from the cache when it is there whole."""
        size = self._size(name)
        cached = self._cached_file(name)
        if cached is not None:
            return LocalFile(cached, self.traffic)
        url = f"{self._http.endpoint}/{self.repo_id}/resolve/{self.sha}/{quote(name)}"
        return RemoteFile(self._http, url, size, self.repo_id, self.sha, name)

    def read_small(self, name: str) -> bytes:
        """The whole of the file `name`. Raises `MalformedError` beyond `MAX_JSON_BYTES`."""
        size = self._size(name)
        if size > MAX_JSON_BYTES:
            raise MalformedError(
                f"{self.label}: {name} has {size:,} bytes, far too many for its kind"
            )
        return self.download(name).read_bytes()

    def path(self, name: str) -> Path | None:
        """The file `name` in the cache, downloaded when it is not there yet; None without one."""
        return self.download(name) if name in self._sizes else None

    def download(self, name: str, progress: Progress | None = None) -> Path:
        """The whole file `name` in huggingface_hub's cache. Raises `NetworkError`."""
        cached = self._cached_file(name)
        if cached is not None:
            return cached
        wanted = Wanted(self.repo_id, self.sha, name, self._size(name))
        path = download(self._http, wanted, self._cache, progress or Silent())
        self.traffic.count(requests=2, bytes_read=wanted.size)  # a HEAD and a GET
        return path

    def is_cached(self, name: str) -> bool:
        """Whether the whole file `name` is in the cache."""
        return self._cached_file(name) is not None

    def _cached_file(self, name: str) -> Path | None:
        cached = self._cached.file(self.sha, name)
        whole = cached is not None and cached.stat().st_size == self._size(name)
        return cached if whole else None

    def _size(self, name: str) -> int:
        if name not in self._sizes:
            raise UsageError(f"{self.label} has no file {name!r}")
        return self._sizes[name]


def resolve(http: HubHttp, repo_id: str, revision: str | None, cache: Path) -> HubCommit:
    """The commit that `revision` means now: one request, answered once for all that follow.

    Raises `UsageError` for a repository or revision that does not exist, `NetworkError` otherwise.
    """
    info = repo_info(http, repo_id, revision)
    return HubCommit(http, repo_id, info.sha, info.sizes, cache)
