"""Whole files into huggingface_hub's cache, with its errors told in our words."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.hub_http import HubHttp, refusal
from spectrakit.errors import NetworkError, OutputError, SpectrakitError
from spectrakit.wording import named

if TYPE_CHECKING:
    from spectrakit.progress import Progress, Task

_CANNOT_WRITE = {errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT}


@dataclass(frozen=True)
class Wanted:
    """One file of a commit, and its size."""

    repo_id: str
    sha: str
    name: str
    size: int


def download(http: HubHttp, wanted: Wanted, cache: Path, progress: Progress) -> Path:
    """The file `wanted`, in the cache.

    Raises `UsageError` and `NetworkError` as the Hub refuses, `OutputError` when the cache cannot
    be written.
    """
    import httpx2
    from huggingface_hub import hf_hub_download

    with progress.task(f"downloading {wanted.name}", total=wanted.size, unit="B") as task:
        try:
            path = hf_hub_download(
                wanted.repo_id,
                wanted.name,
                revision=wanted.sha,
                cache_dir=cache,
                endpoint=http.endpoint,
                token=http.token or False,
                library_name="spectrakit",
                tqdm_class=_reporting_to(task),
            )
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise _told(error, http, wanted) from error
    return Path(path)


def _told(error: Exception, http: HubHttp, wanted: Wanted) -> SpectrakitError:
    for cause in (error, error.__cause__):
        response = getattr(cause, "response", None)
        if response is not None:
            status, headers = response.status_code, response.headers
            return refusal(status, headers, http, wanted.repo_id, wanted.sha, wanted.name)
    if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
        return OutputError(
            f"cannot write {wanted.name} into the cache: {error.strerror}",
            hint=f"{named('cache_dir')} with a folder on another disk",
        )
    reason = type(error.__cause__ or error).__name__
    return NetworkError(
        f"downloading {wanted.name} of {wanted.repo_id} failed ({reason})",
        hint="check the connection and run the same command again: it goes on where it stopped",
    )


def _reporting_to(task: Task) -> type[Any]:
    """A class with the face of tqdm's bar, as huggingface_hub wants one, that tells `task`."""

    class Bar:
        def __init__(self, *_: object, **__: object) -> None:
            self.n = 0

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            task.advance(int(count or 0))

        def update_transfer(self, count: float) -> None:
            """Xet's second count of the same bytes."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *_, **__: None

    return Bar
