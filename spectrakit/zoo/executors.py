"""Where supervisors run: in threads of this process, or on the workers of a Dask cluster."""

from __future__ import annotations

import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from spectrakit.errors import UsageError
from spectrakit.wording import given
from spectrakit.zoo.supervisor import end_children, supervise, versions

if TYPE_CHECKING:
    from spectrakit.zoo.children import News
    from spectrakit.zoo.job import Job, Outcome


class Workplace(Protocol):
    """An executor, and what has to be known of it."""

    @property
    def slots(self) -> int:
        """How many jobs may be handed in at once."""

    def submit(self, job: Job, news: News) -> Future[dict[str, Any]]:
        """Have a job supervised; the future's result is an `Outcome.record`."""

    def outcome_of(self, name: str, error: BaseException) -> Outcome:
        """What an exception of a future means for an entry; raises it where it ends the batch."""

    def close(self) -> None:
        """End what is under way."""


class Local:
    """Threads of this process; jobs: how many models at once."""

    def __init__(self, jobs: int) -> None:
        """Raises UsageError on Windows, where no process can be forked."""
        if sys.platform == "win32":
            message = "a batch forks a process for each model, which Windows cannot do"
            raise UsageError(message, hint=f"WSL, or {given(scheduler='ADDRESS')}")
        self.slots = jobs
        self._executor: Executor = ThreadPoolExecutor(jobs, thread_name_prefix="supervisor")

    def submit(self, job: Job, news: News) -> Future[dict[str, Any]]:
        """See `Workplace`."""
        return self._executor.submit(supervise, message(job), news)

    def outcome_of(self, name: str, error: BaseException) -> Outcome:  # noqa: ARG002
        """See `Workplace`: a supervisor of this process raises nothing that is the model's."""
        raise error

    def close(self) -> None:
        """See `Workplace`."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        end_children()
        self._executor.shutdown(wait=True)


def message(job: Job) -> dict[str, Any]:
    """What `supervise` is given."""
    return {"job": job.record(), "versions": versions()}
