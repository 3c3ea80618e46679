"""The process that runs one model of a batch, whatever that model does to it.

It is forked by the fork server, or started afresh where CUDA is used. It reads its job from a
socket, says on it how far it is, and in the end what became of the job. What its code prints goes
into a pipe, not to the user.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from spectrakit._lazy import lazy_import
from spectrakit.checkpoints.hub_cache import is_offline
from spectrakit.errors import NetworkError, OutputError, SpectrakitError
from spectrakit.output import Destination
from spectrakit.planning import as_it_can_follow, resolve
from spectrakit.plugins import plugins
from spectrakit.provenance import contents_of, run_revision
from spectrakit.registry import Later
from spectrakit.spec_files import spec_from
from spectrakit.tables.folders import is_left, tidy
from spectrakit.wording import given, named, speaking_flags
from spectrakit.zoo import lines
from spectrakit.zoo.folder import BatchFolder
from spectrakit.zoo.job import Job, Outcome
from spectrakit.zoo.runs import finished_run

if TYPE_CHECKING:
    import torch

    from spectrakit import pipeline
    from spectrakit.model import Model
    from spectrakit.planning import Resolved
    from spectrakit.progress import Task
    from spectrakit.zoo import measuring, models, summary
else:
    torch = lazy_import("torch")
    pipeline = lazy_import("spectrakit.pipeline")
    measuring = lazy_import("spectrakit.zoo.measuring")
    models = lazy_import("spectrakit.zoo.models")
    summary = lazy_import("spectrakit.zoo.summary")

#: Seconds between two messages about progress.
_BETWEEN = 0.2
#: The disk is at fault, not the model; and so is the folder of the batch if these are of all of it.
_FULL, _NOT_ALLOWED = (
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG},
    {errno.EROFS, errno.EACCES, errno.EPERM},
)


class Line:
    """The way back to the fork server; also a `Progress`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._said = 0.0

    def job(self) -> Job:
        """What is to be done."""
        return Job.of(lines.receive(self._connection))

    def say(self, **what: object) -> None:
        """Send one message."""
        lines.send(self._connection, what)

    def await_memory(self, needed: int) -> None:
        """Wait until there is room for `needed` bytes besides what other children were granted."""
        self.say(need=needed)
        lines.receive(self._connection)

    @contextmanager
    def task(self, what: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """See `Progress.task`."""
        yield _Told(self, what, total, unit)

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Say how far a piece of work is, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._said >= _BETWEEN:
            self._said = now
            self.say(progress=[what, done, total, unit])


class _Told:
    """A `Task` whose progress is sent."""

    def __init__(self, line: Line, what: str, total: int | None, unit: str) -> None:
        self._line, self._what, self._total, self._unit = line, what, total, unit
        self._done = 0

    def advance(self, amount: int) -> None:
        """`amount` more is done."""
        self._done += amount
        self._line.progress(self._what, self._done, self._total, self._unit)


def main(connection: socket.socket) -> NoReturn:
    """Do the job that comes over `connection`, say what became of it, and end the process."""
    line = Line(connection)
    job = line.job()
    _limit(job)
    before = set(sys.modules)
    with speaking_flags() if job.flags else nullcontext():
        outcome = run(job, line)
    if outcome.finished:
        line.say(imported=[name for name in sys.modules if name not in before])
    line.say(outcome=outcome.record())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # no finalisers: what a model's code registered is not to be run


def run(job: Job, line: Line) -> Outcome:
    """Do the job; whatever happens becomes an `Outcome`, but for what ends the process."""
    try:
        return _summarised(job, line) if job.task == "summarise" else _done(job, line)
    except SpectrakitError as error:
        return _of_error(job, error)
    except SystemExit as error:
        reason = f"its code left the process (sys.exit({error.code!r}))"
        return Outcome(job.name, failure="exited", exit_code=1, reason=reason)
    except MemoryError as error:
        return _out_of_memory(job, error)
    except BaseException as error:  # noqa: BLE001  (whatever it is, it is this model's alone)
        if isinstance(error, RuntimeError) and _is_about_memory(error):
            return _out_of_memory(job, error)
        return _of_bug(job, error)


def _summarised(job: Job, line: Line) -> Outcome:
    folder = BatchFolder(Path(job.folder))
    draw = None if job.draw is None else Later(job.draw)
    summary.write_summary(folder.path, models.models_of(folder), draw, line)
    return Outcome(job.name)


def _done(job: Job, line: Line) -> Outcome:
    """The model analysed, or measured."""
    spec = spec_from(job.spec, job.name)
    folder = Path(job.folder)
    with opened(job, line) as model:
        spec = as_it_can_follow(model, spec)
        resolved = resolve(model, spec)
        if job.task == "measure":
            return Outcome(job.name, computed=False, cost=measuring.cost(model, resolved))
        if _is_there(job, model, resolved):
            if is_left(folder):  # its writer died between the last two steps
                tidy(folder)
            return Outcome(job.name, computed=False)
        if resolved.plan.source == "data":
            line.await_memory(measuring.memory(model, resolved))
        draw = None if job.draw is None else Later(job.draw)
        to = Destination(folder, overwrite=True, draw=draw, key=job.key)
        pipeline.analyze(model, spec, to, progress=line)
        return Outcome(job.name)


def opened(job: Job, line: Line) -> Model:
    """The model of the job, opened."""
    from spectrakit.model import open_model

    hub = dict(job.hub or {})
    if hub.get("cache_dir") is not None:
        hub["cache_dir"] = Path(hub["cache_dir"])
    return open_model(spec_from(job.spec, job.name), progress=line, **hub)


def _is_there(job: Job, model: Model, resolved: Resolved) -> bool:
    """Whether the run of this job is in its folder already, of these weights and files."""
    found = finished_run(Path(job.folder), job.key)
    if found is None:
        return False
    origin = model.claimed_by.origin
    return (
        found["model_id"] == model.checkpoint.model_id
        and found["revision"] == run_revision(model, resolved.spec)
        and found["contents"] == contents_of(model, resolved)
        and (found["plugin"], found["plugin_version"]) == (origin.distribution, origin.version)
    )


def _of_error(job: Job, error: SpectrakitError) -> Outcome:
    full = busy = False
    if isinstance(error, OutputError):
        cause = error.__cause__
        full = isinstance(cause, OSError) and _is_full(cause.errno, Path(job.folder).parent)
        busy = isinstance(cause, BlockingIOError)
    return Outcome(
        job.name,
        failure="error",
        exit_code=error.exit_code,
        reason=error.message,
        hint=error.hint,
        folder_full=full,
        busy=busy,
        final=isinstance(error, NetworkError) and _is_offline(job),
    )


def _is_offline(job: Job) -> bool:
    return bool((job.hub or {}).get("offline")) or is_offline()


def _is_full(number: int | None, runs: Path) -> bool:
    """Whether an error of the disk ends the batch: no other run could be written either."""
    return number in _FULL or (number in _NOT_ALLOWED and not os.access(runs, os.W_OK))


def _out_of_memory(job: Job, error: BaseException) -> Outcome:
    limit = job.limits.memory
    allowed = "" if limit is None else f" ({limit / 1e9:.3g} GB are allowed)"
    first = str(error).strip().partition("\n")[0]
    reason = f"out of memory{allowed}{f': {first}' if first else ''}"
    hint = f"where it runs on a text, {given(batch_size=1)} or a smaller {named('seq_len')}"
    if limit is not None:
        hint = f"a larger {named('memory_limit')}; {hint}"
    return Outcome(job.name, failure="memory", exit_code=1, reason=reason, hint=hint)


def _is_about_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _of_bug(job: Job, error: BaseException) -> Outcome:
    """An exception that should not be: as the command line says it."""
    first = str(error).strip().partition("\n")[0]
    owner = plugins().distribution_of(error) or "spectrakit"
    told = ": ".join(filter(None, [type(error).__name__, first]))
    reason = f"{told} (a bug of {owner})"
    return Outcome(job.name, failure="error", exit_code=1, reason=reason)


def _limit(job: Job) -> None:
    """Take the limits of the job on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the batch ends its children itself
    logging.getLogger("spectrakit").addHandler(logging.NullHandler())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if job.task != "summarise":
        torch.set_num_threads(job.limits.threads)
    own = _data_bytes()
    if job.limits.memory is not None and own is not None and not job.own:
        resource.setrlimit(resource.RLIMIT_DATA, (own + job.limits.memory,) * 2)


def _data_bytes() -> int | None:
    """What counts for RLIMIT_DATA of this process now; None where that is not Linux."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmData" in line)


if __name__ == "__main__":  # started afresh: the socket's number is the only argument
    from spectrakit.zoo.parents import die_with_parent

    die_with_parent(int(sys.argv[2]))
    main(socket.socket(fileno=int(sys.argv[1])))
