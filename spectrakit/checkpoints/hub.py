"""A commit of a Hub repository as a store of files."""

from __future__ import annotations

import os
from copy import copy
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from spectrakit.checkpoints.byte_sources import ByteSource, LocalFile, Traffic
from spectrakit.checkpoints.hub_cache import CachedRepo
from spectrakit.checkpoints.hub_download import Wanted, download
from spectrakit.checkpoints.hub_http import HubHttp, clean_token
from spectrakit.checkpoints.hub_info import RepoInfo, file_size, repo_info
from spectrakit.checkpoints.parts import folders_around
from spectrakit.checkpoints.remote_file import RemoteFile
from spectrakit.checkpoints.stores import MAX_JSON_BYTES, SIDE_FILES
from spectrakit.errors import MalformedError, UsageError
from spectrakit.progress import Progress, Silent

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.checkpoints.parts import Part

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
    """The files of one commit, or of a folder in it; what is cached is read there, else by ranges.

    A folder's config and tokenizer are those of the folders around it where it has none.
    """

    def __init__(self, http: HubHttp, repo_id: str, info: RepoInfo, cache: Path) -> None:
        """Use `resolve`."""
        self.repo_id = repo_id
        self.sha = info.sha
        self.folder = ""  #: the path of the folder; the top of the repository where empty
        self.only: str | None = None
        self.traffic = http.traffic
        self._http = http
        self._sizes = dict(info.sizes)
        self._cache = cache
        self._cached = CachedRepo(cache, repo_id)

    def at(self, part: Part) -> Self:
        """The files in a folder of this one, or one of them."""
        inner = copy(self)
        inner.only = part.name
        inner.folder = "/".join(folder for folder in (self.folder, part.folder) if folder)
        return inner

    @property
    def label(self) -> str:
        """Repository and commit."""
        return f"{self.repo_id}@{self.sha[:12]}"

    def own_names(self) -> frozenset[str]:
        """Names of the files in the folder."""
        return frozenset(path for path in self.paths() if "/" not in path)

    def names(self) -> frozenset[str]:
        """Names of the files in the folder, with those of the folders around that stand in."""
        around = {name for name in SIDE_FILES if self._path(name) in self._sizes}
        return self.own_names() | around

    def paths(self) -> list[str]:
        """The files in the folder and in folders of it."""
        start = f"{self.folder}/" if self.folder else ""
        return sorted(path[len(start) :] for path in self._sizes if path.startswith(start))

    def source(self, name: str) -> ByteSource:
        """The bytes of the file `name`: from the cache when it is there whole."""
        cached = self._cached_file(name)
        if cached is not None:
            return LocalFile(cached, self.traffic)
        path, size = self._path(name), self._size(name)
        return RemoteFile(self._http, self._url(path), size, self.repo_id, self.sha, path)

    def read_small(self, name: str) -> bytes:
        """The whole of the file `name`. Raises `MalformedError` beyond `MAX_JSON_BYTES`."""
        cached = self._cached_file(name)
        size = self._size(name) if cached is None else cached.stat().st_size
        if size > MAX_JSON_BYTES:
            raise MalformedError(
                f"{self.label}: {name} has {size:,} bytes, far too many for its kind"
            )
        return self.download(name).read_bytes()

    def path(self, name: str) -> Path | None:
        """The file `name` in the cache, downloaded when it is not there yet; None without one."""
        return self.download(name) if self._path(name) in self._sizes else None

    def download(self, name: str, progress: Progress | None = None) -> Path:
        """The whole file `name` in huggingface_hub's cache. Raises `NetworkError`."""
        cached = self._cached_file(name)
        if cached is not None:
            return cached
        wanted = Wanted(self.repo_id, self.sha, self._path(name), self._size(name))
        path = download(self._http, wanted, self._cache, progress or Silent())
        self.traffic.count(requests=2, bytes_read=wanted.size)  # a HEAD and a GET
        return path

    def is_cached(self, name: str) -> bool:
        """Whether the whole file `name` is in the cache."""
        return self._cached_file(name) is not None

    def _path(self, name: str) -> str:
        """Where the file `name` lies in the repository: in this folder, or in one around it."""
        own = _joined(self.folder, name)
        if own in self._sizes or name not in SIDE_FILES:
            return own
        around = (_joined(folder, name) for folder in folders_around(self.folder))
        return next((path for path in around if path in self._sizes), own)

    def _url(self, path: str) -> str:
        return f"{self._http.endpoint}/{self.repo_id}/resolve/{self.sha}/{quote(path)}"

    def _cached_file(self, name: str) -> Path | None:
        """The whole file. huggingface_hub puts none but whole ones there; a size is checked too."""
        path = self._path(name)
        cached, size = self._cached.file(self.sha, path), self._sizes.get(path)
        whole = cached is not None and size in (None, cached.stat().st_size)
        return cached if whole else None

    def _size(self, name: str) -> int:
        """The size of the file `name`, asked for where the listing does not say it."""
        path = self._path(name)
        if path not in self._sizes:
            raise UsageError(f"{self.label} has no file {path!r}")
        size = self._sizes[path]
        if size is None:
            size = file_size(self._http, self._url(path), self.repo_id, self.sha, path)
            self._sizes[path] = size
        return size


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def resolve(http: HubHttp, repo_id: str, revision: str | None, cache: Path) -> HubCommit:
    """The commit that `revision` means now: one request, answered once for all that follow.

    Raises `UsageError` for a repository or revision that does not exist, `NetworkError` otherwise.
    """
    info = repo_info(http, repo_id, revision)
    return HubCommit(http, repo_id, info, cache)
