"""Opening a Hub repository: from the network, from the cache, or one for want of the other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.checkpoints.assembling import CONFIGS, assemble
from spectrakit.checkpoints.checkpoint import Identity
from spectrakit.checkpoints.hub_cache import CachedRepo, Snapshot, cache_root, is_offline, is_sha
from spectrakit.checkpoints.shards import MissingShardError, NoWeightsError, weight_files
from spectrakit.errors import NetworkError
from spectrakit.wording import given

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.checkpoints.checkpoint import Checkpoint
    from spectrakit.checkpoints.hub import HubCommit
    from spectrakit.progress import Progress

#: In front of what is of the Hub, whatever is on this disk.
HUB_SCHEME = "hf://"

logger = logging.getLogger("spectrakit")


@dataclass(frozen=True)
class HubRequest:
    """What is asked of the Hub, as `open_checkpoint` documents it.

    file: the path of a weight file, where the repository has several, or no config.
    """

    repo_id: str
    revision: str | None
    cache_dir: Path | None
    token: str | None
    offline: bool | None
    full_download: bool
    tokenizer: str | None
    file: str | None = None

    @property
    def name(self) -> str:
        """What opens it again."""
        return self.repo_id if self.file is None else f"{HUB_SCHEME}{self.repo_id}/{self.file}"


def open_hub(request: HubRequest, progress: Progress) -> Checkpoint:
    """Open a repository of the Hub. Raises what `open_checkpoint` says."""
    root = cache_root(request.cache_dir)
    cached = CachedRepo(root, request.repo_id)
    if is_offline() if request.offline is None else request.offline:
        return _open_snapshot(_require_snapshot(cached, request), request, progress)
    if is_sha(request.revision):
        snapshot = _complete_snapshot(cached, request)
        if snapshot is not None:  # a commit never changes: there is nothing to ask
            return _open_snapshot(snapshot, request, progress)
    from spectrakit.checkpoints.hub_http import UnreachableError

    try:
        return _open_online(root, cached, request, progress)
    except UnreachableError as error:
        snapshot = _complete_snapshot(cached, request)
        if snapshot is None:
            raise
        logger.warning("%s; using commit %s from the cache", error.message, snapshot.sha[:12])
        return _open_snapshot(snapshot, request, progress)


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
    request = HubRequest(repo_id, None, cache_dir, token, offline, False, None)
    root = cache_root(cache_dir)
    cached = CachedRepo(root, repo_id)
    sha = cached.commit(None)
    in_cache = None if sha is None else cached.file(sha, filename)
    if is_offline() if offline is None else offline:
        if in_cache is None:
            raise NetworkError(
                f"{filename} of {repo_id} is not in the cache, and the network is not to be used",
                hint=f"once, without {given(offline=True)}: hf download {repo_id} {filename}",
            )
        return in_cache
    from spectrakit.checkpoints.hub_http import UnreachableError

    try:
        commit = _resolve(root, request)
    except UnreachableError:
        if in_cache is None:
            raise
        return in_cache
    path = commit.path(filename)
    cached.remember(None, commit.sha)
    return path


def _resolve(root: Path, request: HubRequest) -> HubCommit:
    from spectrakit.checkpoints.hub import hub_http, resolve

    return resolve(hub_http(request.token), request.repo_id, request.revision, root)


def _open_online(
    root: Path, cached: CachedRepo, request: HubRequest, progress: Progress
) -> Checkpoint:
    commit = _resolve(root, request)

    def opened() -> Checkpoint:
        files = weight_files(commit, request.file).files
        local = all(commit.is_cached(name) for name in files)
        return assemble(
            commit,
            _identity(request, commit.sha),
            progress,
            only=request.file,
            localized=None if local else localized,
        )

    def localized() -> Checkpoint:
        for name in weight_files(commit, request.file).files:
            commit.download(name, progress)
        return opened()

    checkpoint = localized() if request.full_download else opened()
    cached.remember(request.revision, commit.sha)
    return checkpoint


def _open_snapshot(snapshot: Snapshot, request: HubRequest, progress: Progress) -> Checkpoint:
    return assemble(snapshot, _identity(request, snapshot.sha), progress, only=snapshot.only)


def _identity(request: HubRequest, sha: str) -> Identity:
    model_id = request.name.removeprefix(HUB_SCHEME)
    return Identity(model_id, f"hub {request.name}@{sha}", "hub", sha, request.tokenizer)


def _require_snapshot(cached: CachedRepo, request: HubRequest) -> Snapshot:
    """The cached commit with all its weights. Raises `NetworkError` that says what is missing."""
    sha = cached.commit(request.revision)
    snapshot = None if sha is None else cached.snapshot(sha, request.file)
    if snapshot is None:
        at = "" if request.revision is None else f" at revision {request.revision}"
        raise _offline_miss(f"{request.name}{at} is not in the cache", request.name)
    missing = _missing(snapshot)
    if missing is not None:
        raise _offline_miss(f"{snapshot.label} lacks {missing}", request.name)
    return snapshot


def _complete_snapshot(cached: CachedRepo, request: HubRequest) -> Snapshot | None:
    sha = cached.commit(request.revision)
    snapshot = None if sha is None else cached.snapshot(sha, request.file)
    return None if snapshot is None or _missing(snapshot) is not None else snapshot


def _missing(snapshot: Snapshot) -> str | None:
    """What the cache lacks of a commit to be opened, or None."""
    if snapshot.only is not None:
        return None
    if not snapshot.names() & set(CONFIGS):
        return "config.json"
    try:
        weight_files(snapshot)
    except NoWeightsError:
        return "its weights"
    except MissingShardError as error:
        return f"a shard ({error.shard})"
    return None


def _offline_miss(what: str, name: str) -> NetworkError:
    return NetworkError(
        f"{what}, and the network is not to be used (offline)",
        hint=f"once, without {given(offline=True)} and HF_HUB_OFFLINE:"
        f" spectrakit analyze {name} --full-download",
    )
