"""A commit of a Hub repository as a store of files."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spectrakit.checkpoints.byte_sources import ByteSource, LocalFile, Traffic
from spectrakit.checkpoints.hub_cache import DEFAULT_REVISION, CachedRepo
from spectrakit.checkpoints.hub_download import Wanted, download
from spectrakit.checkpoints.hub_http import CONNECT_ATTEMPTS, HubHttp, clean_token, refusal
from spectrakit.checkpoints.remote_file import RemoteFile
from spectrakit.checkpoints.stores import MAX_JSON_BYTES, plain_name
from spectrakit.errors import MalformedError, NetworkError, UsageError
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
        return frozenset(self._sizes)

    def source(self, name: str) -> ByteSource:
        """The bytes of the file `name`: from the cache when it is there whole."""
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
    at = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    url = f"{http.endpoint}/api/models/{repo_id}{at}?blobs=true"

    def attempt() -> bytes:
        with http.get(url) as response:
            if response.status_code != 200:
                raise refusal(
                    response.status_code,
                    response.headers,
                    http,
                    repo_id,
                    revision or DEFAULT_REVISION,
                )
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_JSON_BYTES:
                    raise NetworkError(f"the Hub's listing of {repo_id} does not end")
            return bytes(body)

    body = http.retrying(f"asking for {repo_id}", attempt, connect_attempts=CONNECT_ATTEMPTS)
    http.traffic.count(bytes_read=len(body))
    sha, sizes = _listing(body, repo_id)
    return HubCommit(http, repo_id, sha, sizes, cache)


def _listing(body: bytes, repo_id: str) -> tuple[str, dict[str, int]]:
    """Commit and sizes of the files at the top of the repository, from the Hub's model info."""
    try:
        info: Any = json.loads(body)
        sha = info["sha"]
        siblings = [(file["rfilename"], file.get("size")) for file in info["siblings"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NetworkError(
            f"the Hub's answer about {repo_id} is not model info", hint="check HF_ENDPOINT"
        ) from error
    if not isinstance(sha, str) or len(sha) != 40 or not set(sha) <= set("0123456789abcdef"):
        raise NetworkError(f"the Hub gives no commit sha for {repo_id}")
    sizes = {
        name: size
        for name, size in siblings
        if isinstance(name, str) and isinstance(size, int) and size >= 0 and _is_plain(name)
    }
    return sha, sizes


def _is_plain(name: str) -> bool:
    try:
        plain_name(name)
    except ValueError:
        return False
    return True
