"""One job as a task of a Dask cluster: what runs on the worker, and how its end is taken."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.errors import SpectrakitError, scrub
from spectrakit.zoo.job import Outcome
from spectrakit.zoo.supervisor import supervise

if TYPE_CHECKING:
    from distributed import Future

#: Seconds between two messages about a job's progress, and for a result to come over.
_BETWEEN, _ANSWER = 2.0, 60.0


def call(function: Callable[..., Any], *arguments: object) -> tuple[Callable[..., Any], bytes]:
    """What the cluster is given for a call of `function`: one of Python's own, and its argument.

    A worker that cannot import what a task is made of does not say so: it ends, and its neighbours'
    work with it; and the scheduler would have to import it, too.
    """
    return pickle.loads, pickle.dumps(_Call(function, arguments))


@dataclass
class _Call:
    """Loaded, it is what the function gives."""

    function: Callable[..., Any]
    arguments: tuple[object, ...]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


def on_worker(job: Mapping[str, Any], topic: str, number: int) -> dict[str, Any]:
    """`supervise` on a worker of a cluster, which says that it has begun, and how far it is.

    Raises nothing: an exception that cannot be pickled, a RecursionError for one, is never heard of
    by the scheduler, and would be waited for without end.
    """
    from distributed import get_worker

    worker = get_worker()
    said = 0.0

    def news(*what: object) -> None:
        nonlocal said
        if time.monotonic() - said >= _BETWEEN:
            said = time.monotonic()
            worker.log_event(topic, {"job": number, "worker": worker.address, "news": list(what)})

    worker.log_event(topic, {"job": number, "worker": worker.address})
    try:
        return supervise(job, news)
    except SpectrakitError as error:
        return {"refused": error.message, "hint": error.hint}
    except Exception as error:  # noqa: BLE001  (see above)
        reason = f"the Dask worker at {worker.address} failed: {type(error).__name__}: {error}"
        name = str(job["job"]["name"])
        return Outcome(name, failure="lost", exit_code=1, reason=scrub(reason)).record()


class Dropped(Exception):  # noqa: N818  (says what became of it)
    """The cluster no longer knows of a job, or its result was lost on the way."""


def result_of(inner: Future) -> tuple[dict[str, Any], BaseException | None]:
    """What the cluster has for a job that is done: a result, or an exception."""
    try:
        if inner.status == "error":
            return {}, inner.exception(timeout=_ANSWER)
        return inner.result(timeout=_ANSWER), None
    except (OSError, CancelledError, asyncio.CancelledError) as error:
        return {}, Dropped(str(error))
    except Exception as error:  # noqa: BLE001  (whatever it is, somebody waits for it)
        return {}, error
