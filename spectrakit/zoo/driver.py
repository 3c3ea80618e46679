"""Runs entries of a batch, each once: hands in, tries again what may pass, writes the journal."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from spectrakit.errors import OutputError
from spectrakit.tables.manifest import without_token
from spectrakit.zoo.claims import Claims
from spectrakit.zoo.job import Job, Outcome
from spectrakit.zoo.journal import Journal, Others
from spectrakit.zoo.keys import state_of

if TYPE_CHECKING:
    from spectrakit.zoo.entries import Entry
    from spectrakit.zoo.executors import Workplace
    from spectrakit.zoo.folder import BatchFolder
    from spectrakit.zoo.watch import Watch

#: Seconds between two looks at what other drivers do, and before a busy folder is tried again.
_PERIOD, _PAUSE = 1.0, 2.0


@dataclass(frozen=True)
class Template:
    """What all jobs of a batch have in common; see `Job`, of which it makes one per entry.

    retries: how often an entry is tried again where it failed for what may pass.
    """

    job: Job
    retries: int = 2


def measured(entries: Sequence[Entry], job: Job, place: Workplace) -> Iterator[Outcome]:
    """What each entry would cost, as they are told; job: what all have in common."""
    waiting = deque(entries)
    pending: set[Future[dict[str, Any]]] = set()
    while waiting or pending:
        while waiting and len(pending) < place.slots:
            entry = waiting.popleft()
            own = replace(job, name=entry.name, spec=entry.spec.record())
            pending.add(place.submit(own, lambda *_: None))
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        yield from (Outcome.of(future.result()) for future in done)


@dataclass
class Ended:
    """What became of the entries that a driver ran.

    computed: so many runs were made. kept: so many were there, and right, when they were looked at.
    failed: the others, by name.
    """

    computed: int = 0
    kept: int = 0
    failed: dict[str, Outcome] = field(default_factory=dict)

    def count(self, outcome: Outcome) -> None:
        """Take one in."""
        if not outcome.finished:
            self.failed[outcome.name] = outcome
        elif outcome.computed:
            self.computed += 1
        else:
            self.kept += 1


@dataclass
class _Running:
    """An entry under way; attempt: from 1."""

    entry: Entry
    key: str
    attempt: int = 1
    state: str = ""
    not_before: float = 0.0


class Driver:
    """One process that works on a batch."""

    def __init__(
        self, folder: BatchFolder, template: Template, place: Workplace, watch: Watch
    ) -> None:
        self._folder, self._template = folder, template
        self._place, self._watch = place, watch
        self._journal = Journal(folder.journal, socket.gethostname())
        self._queue: deque[_Running] = deque()
        self._elsewhere: list[_Running] = []
        self._pending: dict[Future[dict[str, Any]], _Running] = {}
        self._ended = Ended()

    def run(self, todo: Sequence[tuple[Entry, str]], command: str, total: int) -> Ended:
        """Run these entries; command, total: for the record, with entries of other shards.

        Raises OutputError where the folder cannot be written to, and what `Workplace.outcome_of`
        and `supervise` raise: the batch then stops, and goes on where it is run again.
        """
        self._queue.extend(_Running(entry, key) for entry, key in todo)
        self._journal.open()
        self._others = Others(self._folder.journal, self._journal.number)
        how = "stopped"
        try:
            with Claims(self._folder.claims, self._journal.number) as self._claims:
                self._journal.write("began", command=without_token(command), total=total)
                while self._queue or self._pending or self._elsewhere:
                    self._step()
                how = "ended"
        except (KeyboardInterrupt, SystemExit):
            how = "interrupted"
            raise
        finally:
            self._place.close()
            for running in self._pending.values():
                self._folder.clear(running.entry.name)
            self._last_line(how)
        return self._ended

    def _step(self) -> None:
        for running in self._ready():
            self._submit(running)
        if self._pending:
            done, _ = wait(self._pending, timeout=_PERIOD, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(future)
        elif self._queue or self._elsewhere:
            time.sleep(_PERIOD / 4)
        if not self._queue:
            # What others were doing may be done, or left.
            self._queue.extend(self._elsewhere)
            self._elsewhere.clear()
        self._claims.beat()
        self._watch.tick()

    def _ready(self) -> Iterator[_Running]:
        """Entries to be handed in now."""
        for _ in range(len(self._queue)):
            if len(self._pending) >= self._place.slots:
                return
            running = self._queue.popleft()
            if running.not_before > time.monotonic():
                self._queue.append(running)
            elif not self._claims.take(running.entry.name):
                self._elsewhere.append(running)
            elif (outcome := self._done_by_another(running)) is not None:
                self._claims.drop(running.entry.name)
                self._watch.ended(outcome, again=False)
                self._ended.count(outcome)
            else:
                yield running

    def _done_by_another(self, running: _Running) -> Outcome | None:
        """What became of an entry in the hands of another driver, since this one began."""
        name = running.entry.name
        told = self._others.told(name)
        if told is None:
            return None
        if told.failed is not None:
            return told.failed if told.key == running.key else None
        same = told.state is not None and told.state == state_of(running.entry.spec.model)
        there = same and self._folder.finished(name, running.key) is not None
        return Outcome(name, computed=False) if there and not self._folder.is_left(name) else None

    def _submit(self, running: _Running) -> None:
        entry = running.entry
        self._folder.make_way(entry.name, running.key)
        running.state = state_of(entry.spec.model)
        job = replace(
            self._template.job,
            name=entry.name,
            spec=entry.spec.record(),
            folder=str((self._folder.runs / entry.name).absolute()),
            key=running.key,
            claim=str(self._claims.path(entry.name).absolute()),
        )
        self._journal.write(
            "started",
            name=entry.name,
            model=entry.spec.model,
            key=running.key,
            attempt=running.attempt,
        )
        self._watch.started(entry.name)
        future = self._place.submit(job, lambda *news: self._watch.news(entry.name, *news))
        self._pending[future] = running

    def _take(self, future: Future[dict[str, Any]]) -> None:
        """What became of an entry."""
        running = self._pending.pop(future)
        name = running.entry.name
        error = future.exception()
        if error is None:
            outcome = Outcome.of(future.result())
        else:
            outcome = self._place.outcome_of(name, error)
        if not outcome.finished:
            self._folder.clear(name)
        if outcome.folder_full:
            raise OutputError(outcome.reason, hint=outcome.hint)
        again = outcome.busy or (outcome.passing and running.attempt <= self._template.retries)
        if again:
            self._again(running, outcome)
        elif outcome.finished:
            self._journal.write(
                "finished",
                name=name,
                key=running.key,
                state=running.state,
                outcome=outcome.record(),
            )
        else:
            self._failed(running, outcome)
        self._claims.drop(name)
        self._watch.ended(outcome, again=again)
        if not again:
            self._ended.count(outcome)

    def _again(self, running: _Running, outcome: Outcome) -> None:
        """Put an entry back, to be tried a little later."""
        pause = _PAUSE
        if not outcome.busy:
            self._journal.write(
                "retried", name=running.entry.name, key=running.key, outcome=outcome.record()
            )
            pause *= 2 ** (running.attempt - 1)
            running.attempt += 1
        running.not_before = time.monotonic() + pause
        self._queue.append(running)

    def _failed(self, running: _Running, outcome: Outcome) -> None:
        name = running.entry.name
        self._folder.set_aside(name)  # of what the model was before
        limits = self._template.job.limits
        self._journal.write(
            "failed",
            name=name,
            key=running.key,
            state=running.state,
            seconds=limits.seconds,
            memory=limits.memory,
            outcome=outcome.record(),
        )

    def _last_line(self, how: str) -> None:
        with suppress(OutputError):  # of a full disk there is an error already
            self._journal.write(how)
        self._journal.close()
