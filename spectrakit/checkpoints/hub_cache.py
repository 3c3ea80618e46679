"""The cache that huggingface_hub keeps, read without importing it.

    CACHE/models--org--name/refs/<branch or tag>        a commit sha
    CACHE/models--org--name/snapshots/<sha>/<file>      links to the blobs beside

Layout and variables are documented at https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
The environment is read when asked, not when imported, so that a test or a notebook can change it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit.checkpoints.parts import folders_around
from spectrakit.checkpoints.stores import LocalFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHA = re.compile(r"[0-9a-f]{40}")
_TRUE = {"1", "ON", "YES", "TRUE"}
#: The branch that a repository is read at when nobody says.
DEFAULT_REVISION = "main"


def cache_root(given: Path | None = None) -> Path:
    """The cache's folder: `given`, or what HF_HUB_CACHE and HF_HOME say, or the default."""
    if given is not None:
        return given.expanduser()
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return _expand(os.environ[variable])
    if os.environ.get("HF_HOME"):
        return _expand(os.environ["HF_HOME"]) / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expand(base) / "huggingface" / "hub"


def is_offline() -> bool:
    """Whether the environment forbids the network (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE)."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in _TRUE


def is_sha(revision: str | None) -> bool:
    """Whether `revision` is a full commit sha, which can never mean another commit."""
    return revision is not None and _SHA.fullmatch(revision) is not None


class CachedRepo:
    """What the cache has of one repository."""

    def __init__(self, root: Path, repo_id: str) -> None:
        """The repository `repo_id` in the cache `root`; neither needs to exist."""
        self.folder = root / f"models--{repo_id.replace('/', '--')}"
        self.repo_id = repo_id

    def commit(self, revision: str | None) -> str | None:
        """The commit that `revision` meant when the Hub was last asked, or None."""
        revision = revision or DEFAULT_REVISION
        if is_sha(revision):
            return revision
        ref = self._ref(revision)
        if ref is None or not ref.is_file():
            return None
        sha = ref.read_text(encoding="utf-8", errors="replace").strip()
        return sha if is_sha(sha) else None

    def remember(self, revision: str | None, sha: str) -> None:
        """Note that `revision` means `sha`, as huggingface_hub does, to be found offline."""
        revision = revision or DEFAULT_REVISION
        ref = self._ref(revision)
        if ref is None or is_sha(revision) or not self.folder.is_dir():
            return
        try:
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(sha, encoding="utf-8")
        except OSError:  # a cache that can only be read is as good for everything else
            return

    def file(self, sha: str, name: str) -> Path | None:
        """The cached file `name` of commit `sha`, or None."""
        path = self.folder / "snapshots" / sha / name
        return path if path.is_file() else None

    def snapshot(self, sha: str, path: str | None = None) -> Snapshot | None:
        """What is cached of commit `sha`, or at the path of a weight file or folder, or None."""
        top = self.folder / "snapshots" / sha
        place = top if path is None else top / path
        only = place.name if place.is_file() else None
        folder = place if only is None else place.parent
        if not folder.is_dir():
            return None
        around = [top / outer for outer in folders_around(folder.relative_to(top).as_posix())]
        return Snapshot(self.repo_id, sha, folder, only, around[::-1] if folder != top else ())

    def _ref(self, revision: str) -> Path | None:
        refs = (self.folder / "refs").resolve()
        ref = (refs / revision).resolve()
        return ref if ref.is_relative_to(refs) and ref != refs else None


class Snapshot(LocalFolder):
    """A commit in the cache, of which some files may be missing."""

    def __init__(
        self,
        repo_id: str,
        sha: str,
        folder: Path,
        only: str | None = None,
        outer: Sequence[Path] = (),
    ) -> None:
        """The commit `sha` of `repo_id`, cached in `folder`; only, outer: as of `LocalFolder`."""
        super().__init__(folder, only=only, outer=outer)
        self.sha = sha
        self._label = f"{repo_id}@{sha[:12]} in the cache"

    @property
    def label(self) -> str:
        """Repository and commit."""
        return self._label


def _expand(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()
