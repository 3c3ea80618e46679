"""Opening a Hub repository: from the network, from the cache, or one for want of the other."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict, TypeVar

from spectrakit.checkpoints.adapters import (
    ADAPTER_FILES,
    BaseOpener,
    is_adapter,
    open_adapter,
    refuse_as_base,
)
from spectrakit.checkpoints.assembling import CONFIGS, assemble
from spectrakit.checkpoints.checkpoint import Identity
from spectrakit.checkpoints.choosing import meant, models_in
from spectrakit.checkpoints.hub_cache import CachedRepo, Snapshot, cache_root, is_offline, is_sha
from spectrakit.checkpoints.parts import HUB_SCHEME, WHOLE, Part, missing
from spectrakit.checkpoints.shards import (
    MissingShardError,
    NoWeightsError,
    SeveralFilesError,
    is_weights,
    weight_files,
)
from spectrakit.checkpoints.stores import Store
from spectrakit.errors import NetworkError
from spectrakit.progress import Silent
from spectrakit.wording import as_flags, given

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from spectrakit.checkpoints.checkpoint import Checkpoint
    from spectrakit.checkpoints.hub import HubCommit
    from spectrakit.progress import Progress

logger = logging.getLogger("spectrakit")
S = TypeVar("S", bound=Store)


class HowOpened(TypedDict, total=False):
    """How a checkpoint is opened, see `open_checkpoint`; all may be left out."""

    cache_dir: Path | None
    token: str | None
    offline: bool | None
    full_download: bool
    progress: Progress | None


@dataclass(frozen=True)
class HubRequest:
    """What is asked of the Hub, as `open_checkpoint` documents it.

    tokenizer: the one that the catalog names. address: a path behind the repository's name, of a
    file or a folder. part: what is asked for besides, in that folder. hub: how the Hub is used.
    """

    repo_id: str
    revision: str | None = None
    tokenizer: str | None = None
    address: str | None = None
    part: Part = WHOLE
    hub: HowOpened = field(default_factory=lambda: HowOpened(), repr=False)

    @property
    def cache(self) -> Path:
        """The cache's folder."""
        return cache_root(self.hub.get("cache_dir"))

    @property
    def offline(self) -> bool:
        """Whether the network is not to be used."""
        offline = self.hub.get("offline")
        return is_offline() if offline is None else offline

    @property
    def name(self) -> str:
        """What opens it again, with the same part."""
        if self.address is None:
            return self.repo_id
        return f"{HUB_SCHEME}{self.repo_id}/{self.address}"

    @property
    def path(self) -> str | None:
        """What is asked for of the repository; None for all of it."""
        found = "/".join(path for path in (self.address, self.part.path) if path is not None)
        return found or None

    def place(self, label: str, paths: Sequence[str]) -> Part:
        """That as a file or a folder. Raises UsageError unless it is one; paths: of files."""
        path = self.path
        if path is None:
            return WHOLE
        is_file = self.part.file is not None
        if self.part == WHOLE:
            is_file = path in paths or (is_weights(path) and not any(_below(paths, path)))
        part = Part(path) if is_file else Part(None, path)
        there = path in paths if is_file else any(_below(paths, path))
        if not there:
            raise missing(label, part, paths)
        return part


def open_hub(request: HubRequest, base: BaseOpener | None) -> Checkpoint:
    """Open a repository of the Hub; base: as of `open_path`. Raises what `open_checkpoint` says."""
    progress = request.hub.get("progress") or Silent()
    opening = _Opening(request, progress, base, CachedRepo(request.cache, request.repo_id))
    if request.offline:
        return opening.cached(_require_snapshot(opening.repo, request))
    if is_sha(request.revision):
        snapshot = _complete_snapshot(opening.repo, request)
        if snapshot is not None:  # a commit never changes: there is nothing to ask
            return opening.cached(snapshot)
    from spectrakit.checkpoints.hub_http import UnreachableError

    try:
        return opening.online()
    except UnreachableError as error:
        snapshot = _complete_snapshot(opening.repo, request)
        if snapshot is None:
            raise
        logger.warning("%s; using commit %s from the cache", error.message, snapshot.sha[:12])
        return opening.cached(snapshot)


def fetch_file(
    repo_id: str,
    filename: str,
    *,
    cache_dir: Path | None = None,
    token: str | None = None,
    offline: bool | None = None,
) -> Path | None:
    """A small file of a Hub repository in the ordinary cache; None when the repository lacks it.

    Raises `UsageError` for a repository that does not exist, `NetworkError` when the Hub cannot be
    reached and the cache does not have the file.
    """
    hub = HowOpened(cache_dir=cache_dir, token=token, offline=offline)
    request = HubRequest(repo_id, hub=hub)
    cached = CachedRepo(request.cache, repo_id)
    sha = cached.commit(None)
    in_cache = None if sha is None else cached.file(sha, filename)
    if request.offline:
        if in_cache is None:
            raise NetworkError(
                f"{filename} of {repo_id} is not in the cache, and the network is not to be used",
                hint=f"once, without {given(offline=True)}: hf download {repo_id} {filename}",
            )
        return in_cache
    from spectrakit.checkpoints.hub_http import UnreachableError

    try:
        commit = _resolve(request)
    except UnreachableError:
        if in_cache is None:
            raise
        return in_cache
    path = commit.path(filename)
    cached.remember(None, commit.sha)
    return path


def _resolve(request: HubRequest) -> HubCommit:
    from spectrakit.checkpoints.hub import hub_http, resolve

    http = hub_http(request.hub.get("token"))
    return resolve(http, request.repo_id, request.revision, request.cache)


def _below(paths: Iterable[str], folder: str) -> Iterator[str]:
    return (path for path in paths if path.startswith(f"{folder}/"))


@dataclass(frozen=True)
class _Opening:
    """A request that is being answered."""

    request: HubRequest
    progress: Progress
    base: BaseOpener | None
    repo: CachedRepo

    def online(self) -> Checkpoint:
        """From the commit that the revision means now."""
        request = self.request
        commit = _resolve(request)
        part = request.place(commit.label, commit.paths())
        inside = commit.at(part)
        if request.hub.get("full_download") and is_adapter(inside.own_names()):
            for name in inside.own_names() & set(ADAPTER_FILES):
                inside.download(name, self.progress)
        adapter = self._adapter(inside, commit.sha)
        checkpoint = adapter or self._assembled(self._meant(inside, part), commit.sha)
        self.repo.remember(request.revision, commit.sha)
        return checkpoint

    def cached(self, snapshot: Snapshot) -> Checkpoint:
        """From what the cache has of a commit."""
        path = self.request.path
        part = Part(path) if snapshot.only is not None else Part(None, path)
        adapter = self._adapter(snapshot, snapshot.sha)
        if adapter is not None:
            return adapter
        identity = _identity(self.request, snapshot.sha)
        return assemble(self._meant(snapshot, part), identity, self.progress)

    def _assembled(self, store: HubCommit, sha: str) -> Checkpoint:
        identity = _identity(self.request, sha)

        def opened() -> Checkpoint:
            files = weight_files(store, store.only).files
            local = all(store.is_cached(name) for name in files)
            return assemble(store, identity, self.progress, localized=None if local else localized)

        def localized() -> Checkpoint:
            for name in weight_files(store, store.only).files:
                store.download(name, self.progress)
            return opened()

        return localized() if self.request.hub.get("full_download") else opened()

    def _meant(self, store: S, part: Part) -> S:
        revision = self.request.revision
        at = "" if revision is None else f"@{revision}"
        return meant(store, part, f"{self.request.repo_id}{at}")

    def _adapter(self, store: Store, sha: str) -> Checkpoint | None:
        """The adapter that `store` has; None where it has none, or one file of it is meant."""
        if store.only is not None or not is_adapter(store.own_names()):
            return None
        base = self.base or refuse_as_base(store.label)
        return open_adapter(store, self.progress, _identity(self.request, sha), base)


def _identity(request: HubRequest, sha: str) -> Identity:
    path = "" if request.path is None else f"/{request.path}"
    return Identity(
        f"{request.repo_id}{path}",
        f"hub {request.name}@{sha}",
        "hub",
        sha,
        request.tokenizer,
        request.part,
    )


def _require_snapshot(cached: CachedRepo, request: HubRequest) -> Snapshot:
    """The cached commit with all its weights. Raises `NetworkError` that says what is missing."""
    sha = cached.commit(request.revision)
    snapshot = None if sha is None else cached.snapshot(sha, request.path)
    if snapshot is None:
        at = "" if request.revision is None else f" at revision {request.revision}"
        shown = request.part.within(request.name)
        raise _offline_miss(f"{shown}{at} is not in the cache", request)
    lacking = _missing(snapshot)
    if lacking is not None:
        raise _offline_miss(f"{snapshot.label} lacks {lacking}", request)
    return snapshot


def _complete_snapshot(cached: CachedRepo, request: HubRequest) -> Snapshot | None:
    sha = cached.commit(request.revision)
    snapshot = None if sha is None else cached.snapshot(sha, request.path)
    return None if snapshot is None or _missing(snapshot) is not None else snapshot


def _missing(snapshot: Snapshot) -> str | None:
    """What the cache lacks of a commit to be opened, or None.

    Opening one online brings its config before its weights, so that weights without one have none.
    """
    try:
        weight_files(snapshot, snapshot.only)
    except NoWeightsError:
        has_config = bool(snapshot.names() & set(CONFIGS))
        if has_config or not models_in(snapshot.paths()):
            return "its weights" if has_config else "config.json"
    except MissingShardError as error:
        return f"a shard ({error.shard})"
    except SeveralFilesError:  # which are told apart when it is opened
        return None
    return None


def _offline_miss(what: str, request: HubRequest) -> NetworkError:
    asked = {"file": request.part.file, "subfolder": request.part.subfolder}
    chosen = {name: path for name, path in asked.items() if path is not None}
    return NetworkError(
        f"{what}, and the network is not to be used (offline)",
        hint=f"once, without {given(offline=True)} and HF_HUB_OFFLINE:"
        f" spectrakit analyze {request.name} {as_flags(**chosen, full_download=True)}",
    )
