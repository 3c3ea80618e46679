"""Supervisors on the workers of a Dask cluster that is there already.

A worker that is lost takes with it what it was running, and its scheduler blames whatever was
waiting there as well: what had not begun is handed in again, the rest is for the driver to retry.
When the scheduler is lost, it is looked for again, and what is unfinished is handed in to it then;
what workers finished meanwhile, their successors find finished.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spectrakit.errors import NetworkError, SpectrakitError, UsageError
from spectrakit.zoo.dask_cluster import check_token, connect, let_go, numerical_differences, quieten
from spectrakit.zoo.dask_resources import Resources, measured_here
from spectrakit.zoo.dask_tasks import Dropped, call, on_worker, result_of
from spectrakit.zoo.executors import message
from spectrakit.zoo.job import Job, Outcome
from spectrakit.zoo.supervisor import end_children, supervise

if TYPE_CHECKING:
    from distributed import Future as DaskFuture

    from spectrakit.zoo.children import News

logger = logging.getLogger("spectrakit")

#: Seconds that a scheduler may take to answer, and that a lost one is looked for.
TIMEOUT, PATIENCE = 10.0, 300.0
#: Jobs handed in for each thread of the workers, so that none waits for the driver; and at least,
#: for a cluster that starts workers as there are jobs.
_PER_THREAD, _LEAST = 2, 4
#: Seconds between two looks at the cluster.
_PERIOD = 2.0
#: Times that a job is handed in again which had not begun when it was lost.
_MOVES = 5
#: Seconds in which workers end their children once nobody wants the outcome.
_ENDING = 5.0


@dataclass(eq=False)
class _HandedIn:
    """A job; future: what the driver waits for. inner: the cluster's, None where it has none.

    began: the worker that it is on. moves: how often it was lost before it began.
    """

    number: int
    job: Job
    news: News
    resources: Mapping[str, float] = field(default_factory=dict)
    future: Future[dict[str, Any]] = field(default_factory=Future)
    inner: DaskFuture | None = None
    ready: bool = False
    began: str = ""
    moves: int = 0


class DaskWorkers:
    """A `Workplace`: the workers of the cluster whose scheduler is at `address`.

    timeout: seconds that the scheduler may take to answer. patience: seconds that a lost one is
    looked for. Raises what `dask_cluster.connect` does.
    """

    def __init__(
        self, address: str, *, timeout: float = TIMEOUT, patience: float = PATIENCE
    ) -> None:
        self._address, self._timeout, self._patience = address, timeout, patience
        self._topic = f"spectrakit-{uuid.uuid4().hex}"
        self._lock = threading.RLock()
        self._jobs: dict[int, _HandedIn] = {}
        self._last = 0
        self._failed: Exception | None = None
        self._threads = -1
        self._resources = Resources()
        self._measuring = ThreadPoolExecutor(2, thread_name_prefix="measuring")
        self._join(timeout)
        for line in numerical_differences(self._client):
            logger.warning(line)
        self._closing, self._wake = threading.Event(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def slots(self) -> int:
        """See `Workplace`; raises NetworkError where the scheduler was lost for good."""
        if self._failed is not None:
            raise self._failed
        return max(_LEAST, _PER_THREAD * self._threads)

    def submit(self, job: Job, news: News) -> Future[dict[str, Any]]:
        """See `Workplace`. Raises UsageError for a job with an access token."""
        check_token(job.hub)
        with self._lock:
            self._last += 1
            handed = _HandedIn(self._last, job, news)
            self._jobs[handed.number] = handed
        self._prepare(handed)
        return handed.future

    def outcome_of(self, name: str, error: BaseException) -> Outcome:
        """See `Workplace`: what is lost with a worker is the fault of no model."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, SpectrakitError):
            raise error
        if isinstance(error, ImportError | AttributeError):
            text = f"a Dask worker at {self._address} cannot import spectrakit: {error}"
            raise UsageError(text, hint="install the same versions on all machines") from error
        if isinstance(error, KilledWorker):
            reason = f"the Dask worker at {error.last_worker.address} was lost"
        elif isinstance(error, Dropped):
            reason = f"the Dask scheduler at {self._address} dropped it"
        else:
            reason = f"its Dask worker failed: {type(error).__name__}: {error}"
        return Outcome(name, failure="lost", exit_code=1, reason=reason)

    def close(self) -> None:
        """See `Workplace`: without their claims, jobs that are running end by themselves."""
        self._closing.set()
        self._wake.set()
        self._measuring.shutdown(wait=False, cancel_futures=True)
        try:
            if not self._lost:
                wait([handed.future for handed in self._snapshot() if handed.inner], _ENDING)
        finally:
            let_go(self._client)
            self._watcher.join()
            end_children()  # those that measured
            self._measuring.shutdown(wait=True)

    def _join(self, timeout: float) -> None:
        """Become a client of the cluster. Raises what `connect` does."""
        self._client = connect(self._address, timeout)
        quieten()
        self._client.subscribe_topic(self._topic, self._heard)
        self._look()

    def _prepare(self, handed: _HandedIn) -> None:
        """Find what a job asks of a worker, and hand it in."""
        if self._resources.asks_for_memory(handed.job):
            self._measuring.submit(self._measure, handed)
        else:
            self._find_resources(handed, None)

    def _measure(self, handed: _HandedIn) -> None:
        """How much memory a job needs, told on this machine; where that fails, none is asked for.

        The worker meets the same error, and says it as the model's own.
        """
        outcome = Outcome.of(supervise(message(measured_here(handed.job))))
        self._find_resources(handed, outcome.cost.memory if outcome.cost else None)

    def _find_resources(self, handed: _HandedIn, memory: int | None) -> None:
        refused = self._resources.refusal(handed.job, memory)
        if refused is not None:
            self._settle(handed, refused.record())
            return
        handed.resources = self._resources.wanted(handed.job, memory)
        handed.ready = True
        self._hand_in(handed)

    def _hand_in(self, handed: _HandedIn) -> None:
        """Give a job to the cluster, or leave that to the watcher while there is none."""
        with self._lock:
            if handed.inner is not None or handed.future.done() or self._lost:
                return
            with suppress(RuntimeError, OSError):  # lost at this moment
                handed.inner = self._client.submit(
                    *call(on_worker, message(handed.job), self._topic, handed.number),
                    key=f"spectrakit-{uuid.uuid4().hex}", resources=dict(handed.resources),
                    retries=0,
                )  # fmt: skip
                handed.inner.add_done_callback(lambda inner: self._done(handed, inner))

    def _done(self, handed: _HandedIn, inner: DaskFuture) -> None:
        """What the cluster says of a job; called in a thread of Dask's."""
        from distributed.scheduler import KilledWorker

        told, error = result_of(inner)
        with self._lock:
            if handed.inner is not inner or handed.future.done():
                return
            not_begun = isinstance(error, KilledWorker) and not handed.began
            if not_begun or (isinstance(error, Dropped) and not self._closing.is_set()):
                handed.inner = None
                handed.began = ""
                handed.moves += not self._lost
                if handed.moves <= _MOVES:
                    self._wake.set()
                    return
        if error is not None:
            self._settle(handed, error)
        elif "refused" in told:
            self._settle(handed, UsageError(told["refused"], hint=told["hint"]))
        else:
            self._settle(handed, told)

    def _settle(self, handed: _HandedIn, what: dict[str, Any] | BaseException) -> None:
        with self._lock:
            self._jobs.pop(handed.number, None)
            if handed.future.done():
                return
            if isinstance(what, BaseException):
                handed.future.set_exception(what)
            else:
                handed.future.set_result(what)

    def _heard(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """A worker says that it has begun a job, or how far it is."""
        told = event[1]
        with self._lock:
            handed = self._jobs.get(told.get("job", 0))
            if handed is None:
                return
            handed.began = str(told.get("worker"))
        if "news" in told:
            handed.news(*told["news"])

    # ---- the watcher, a thread ----

    @property
    def _lost(self) -> bool:
        return bool(self._client.status != "running")

    def _watch(self) -> None:
        """Hand in again what was lost, and look for the scheduler when it is."""
        while not self._closing.is_set():
            self._wake.wait(_PERIOD)
            self._wake.clear()
            try:
                if self._lost and not self._closing.is_set():
                    self._find_again()
                self._look()
            except OSError:  # lost at this moment
                continue
            except Exception as error:  # noqa: BLE001  (or the batch would wait for ever)
                self._give_up(error)
                return
            for handed in self._snapshot():
                if handed.ready:
                    self._hand_in(handed)

    def _look(self) -> None:
        """How many threads there are, and which resources workers declare."""
        threads = self._client.scheduler_info(n_workers=0)["total_threads"]
        if threads == self._threads:
            return
        info = self._client.scheduler_info(n_workers=-1)
        if self._resources.declared_by(info["workers"].values()):
            for handed in self._snapshot():
                if handed.ready and not handed.began:  # it was handed in without asking for that
                    handed.ready, handed.inner = False, None
                    self._prepare(handed)
        self._threads = threads
        if not threads:
            logger.warning("no workers at %s: waiting for some", self._address)

    def _find_again(self) -> None:
        """Join the cluster anew. Raises NetworkError where it does not come back in time."""
        logger.warning(
            "the Dask scheduler at %s was lost: trying to reach it for %.3g minutes",
            self._address, self._patience / 60,
        )  # fmt: skip
        let_go(self._client)
        with self._lock:
            for handed in self._jobs.values():
                handed.inner, handed.began = None, ""
        end = time.monotonic() + self._patience
        while not self._closing.is_set():
            try:
                return self._join(min(self._timeout, self._patience))
            except (NetworkError, OSError) as error:
                if time.monotonic() > end:
                    text = f"the Dask scheduler at {self._address} was lost and did not come back"
                    hint = "the same command again goes on where it was left"
                    raise NetworkError(text, hint=hint) from error
            self._closing.wait(_PERIOD / 2)
        return None

    def _give_up(self, error: Exception) -> None:
        self._failed = error
        for handed in self._snapshot():
            self._settle(handed, error)

    def _snapshot(self) -> list[_HandedIn]:
        with self._lock:
            return list(self._jobs.values())
