"""A batch from its list to its leaderboard, on one page; what can be called from outside."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.errors import OutputError
from spectrakit.tables.reader import read_run
from spectrakit.zoo.children import Children
from spectrakit.zoo.driver import Driver, Ended, Template, measured
from spectrakit.zoo.executors import Local
from spectrakit.zoo.folder import BatchFolder
from spectrakit.zoo.job import Job, Outcome
from spectrakit.zoo.models import models_of
from spectrakit.zoo.sorting import Sorted, sort_entries

if TYPE_CHECKING:
    from spectrakit.tables import Run
    from spectrakit.zoo.entries import Entry
    from spectrakit.zoo.executors import Workplace
    from spectrakit.zoo.options import BatchOptions
    from spectrakit.zoo.watch import Watch


logger = logging.getLogger("spectrakit")

#: Times that the summary is begun, where its process is killed.
_TRIES = 3
#: Told before they are.
_REPLACED = "%d of these models have a run with other settings, which is moved to %s"


@dataclass(frozen=True)
class Invocation:
    """How a batch is run besides its options.

    hub: keywords of `open_checkpoint` that say how the Hub is used, as JSON values. draw: what
    renders the pictures of a run, as "module:name"; None for none. flags: whether errors name
    flags. command: the command line, for the record.
    """

    hub: dict[str, Any] | None = None
    draw: str | None = None
    flags: bool = False
    command: str = ""


@dataclass(frozen=True)
class Batch:
    """What a batch came to.

    total: entries that were asked for. before: finished already. ended: what this one did. failed:
    of all entries, those that have no run, by name.
    """

    folder: BatchFolder
    total: int
    before: int
    ended: Ended
    failed: dict[str, Outcome]


def run_batch(
    entries: Sequence[Entry], out: Path, options: BatchOptions, how: Invocation, watch: Watch
) -> Batch:
    """Analyse every entry into the folder `out`; those that are done there are not touched.

    Raises UsageError where the folder is something else's and for an option that is wrong,
    OutputError where it cannot be written to, NetworkError where a scheduler cannot be reached.
    What becomes of a model raises nothing.
    """
    folder, own, found = _sorted(entries, out, options)
    watch.begin(len(own), len(found.finished), len(found.failed))
    if found.replaced:
        logger.info(_REPLACED, len(found.replaced), folder.stale)
    ended = Ended()
    if found.todo:
        place = _place(options, how)  # before there is a folder: a cluster may not be reached
        folder.make()
        job = Job("", {}, "", "", hub=how.hub, draw=how.draw, limits=options.limits,
                  flags=how.flags)  # fmt: skip
        driver = Driver(folder, Template(job, options.retries), place, watch)
        ended = driver.run(found.todo, how.command, len(entries))
    else:
        folder.tidy()
    failed = found.failed | ended.failed
    return Batch(folder, len(own), len(found.finished), ended, failed)


def summarise(done: Batch, draw: str | None, watch: Watch) -> Run | None:
    """The summary of the folder, written anew where this batch changed anything; None without one.

    That is found out, not remembered: the driver that changed something may have died before this.
    It is written in a child: of thousands of runs it takes memory, and what draws may fail. draw:
    what renders the picture, as "module:name".

    Raises OutputError where the folder is full. Anything else that fails is a warning.
    """
    from spectrakit.zoo.summary import current_summary

    folder = done.folder
    if not folder.runs.is_dir():
        return None
    found = current_summary(folder.path, models_of(folder), drawn=draw is not None)
    if found is not None:
        return found
    job = Job("summary", {}, str(folder.path.absolute()), "", task="summarise", draw=draw)
    children = Children(threads=1)
    watch.started(job.name)

    def waiting() -> bool:
        watch.tick()
        return True

    try:
        for _ in range(_TRIES):
            outcome = children.run(job, lambda *news: watch.news(job.name, *news), waiting)
            if not outcome.passing:
                break
    finally:
        children.close()
    if outcome.folder_full:
        raise OutputError(outcome.reason, hint=outcome.hint)
    if outcome.finished:
        return read_run(folder.summary)
    why = "another batch is writing it" if outcome.busy else outcome.reason
    logger.warning("no summary: %s; the same command writes it", why)
    return None


def measure_batch(
    entries: Sequence[Entry], out: Path, options: BatchOptions, how: Invocation, watch: Watch
) -> tuple[Sorted, dict[str, Outcome]]:
    """What `run_batch` would do: the entries by what is to be done, and the costs of those to run.

    Writes nothing. Raises what `run_batch` does before it runs a model.
    """
    _, _own, found = _sorted(entries, out, options)
    watch.begin(len(found.todo), 0, 0)
    job = Job("", {}, "", "", task="measure", hub=how.hub, limits=options.limits, flags=how.flags)
    place = Local(options.models_at_once)
    costs = {}
    try:
        for outcome in measured([entry for entry, _ in found.todo], job, place):
            costs[outcome.name] = outcome
            watch.ended(outcome, again=False)
    finally:
        place.close()
    return found, {entry.name: costs[entry.name] for entry, _ in found.todo}


def _sorted(
    entries: Sequence[Entry], out: Path, options: BatchOptions
) -> tuple[BatchFolder, tuple[Entry, ...], Sorted]:
    folder = BatchFolder(out)
    folder.check()
    own = options.part(tuple(entries))
    return (
        folder,
        own,
        sort_entries(folder, own, limits=options.limits, retry_failed=options.retry_failed),
    )


def _place(options: BatchOptions, how: Invocation) -> Workplace:
    """Where the models are run."""
    if options.scheduler is None:
        return Local(options.models_at_once)
    from spectrakit.zoo.dask_cluster import check_token
    from spectrakit.zoo.dask_workers import DaskWorkers

    check_token(how.hub)
    return DaskWorkers(options.scheduler)
