"""Models run in children, from the side of the one who waits for them."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from spectrakit.errors import scrub
from spectrakit.zoo import lines
from spectrakit.zoo.interpreters import python
from spectrakit.zoo.job import Job, Outcome

#: What is told of a child under way: what it does, how much is done, of how much, in which unit.
News: TypeAlias = Callable[[str, int, int | None, str], None]

#: Seconds between two questions whether the outcome is still wanted.
_PERIOD = 1.0
#: Seconds until a server that does not end by itself is ended.
_GRACE = 1.0


@dataclass
class _Awaited:
    """An outcome that somebody waits for."""

    job: Job
    news: News | None
    outcome: Outcome | None = None
    there: threading.Event = field(default_factory=threading.Event)

    def settle(self, outcome: Outcome) -> None:
        """It is known now; the first word counts."""
        self.outcome = self.outcome or outcome
        self.there.set()


class Children:
    """A fork server of our own, started when it is needed and again when it is lost.

    threads: of a child's numerical libraries. modules: imported once, for all of them. Any number
    of threads may call `run`.
    """

    def __init__(self, threads: int, modules: Sequence[str] = ()) -> None:
        self._threads, self._modules = threads, tuple(modules)
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def run(
        self, job: Job, news: News | None = None, wanted: Callable[[], bool] = lambda: True
    ) -> Outcome:
        """Run one job in a child and wait for its end; does not raise for what a model does.

        wanted: asked now and then; where it says no, the child is ended.
        """
        with self._lock:
            if self._server is not None and self._server.lost:
                self._server.close()
                self._server = None
            self._server = self._server or _Server(self._threads, self._modules)
            server = self._server
        awaited = _Awaited(job, news)
        number = server.start(awaited)
        refused = 0
        while not awaited.there.wait(_PERIOD):
            # Twice: a claim is out of its place for a moment while somebody looks whose it is.
            refused = 0 if wanted() else refused + 1
            if refused > 1:
                server.end(number)
        if awaited.outcome is None:
            raise AssertionError  # it is set before the event
        return awaited.outcome

    def close(self) -> None:
        """End all children."""
        with self._lock:
            if self._server is not None:
                self._server.close()
            self._server = None


class _Server:
    """One fork server, and the thread that hears it."""

    def __init__(self, threads: int, modules: Sequence[str]) -> None:
        self.lost = False
        self._awaited: dict[int, _Awaited] = {}
        self._last = 0
        self._lock = threading.Lock()
        self._connection, its = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        command = python("spectrakit.zoo.forkserver", str(its.fileno()), *modules)
        self._process = subprocess.Popen(  # noqa: S603  (our own module)
            command,
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the batch, which ends its children itself
            env=os.environ | _threads_environment(threads),
        )
        its.close()
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def start(self, awaited: _Awaited) -> int:
        """Hand a job in; its number."""
        with self._lock:
            self._last += 1
            number = self._last
            self._awaited[number] = awaited
            if self.lost:
                self._lose()
            else:
                self._send({"start": awaited.job.record(), "id": number})
        return number

    def end(self, number: int) -> None:
        """Have a child ended."""
        with self._lock:
            self._send({"end": number})

    def close(self) -> None:
        """End it; its children end with it."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:  # it is still importing: it has no children yet
            self._process.kill()
            self._process.wait()
        self._connection.close()
        self._log.close()

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # it is gone: the thread that hears it notices
            lines.send(self._connection, message)

    def _hear(self) -> None:
        incoming = lines.Incoming(self._connection)
        try:
            while True:
                for message in incoming.messages():
                    self._take(message)
        except (EOFError, OSError):
            with self._lock:
                self.lost = True
                self._lose()

    def _take(self, message: dict[str, Any]) -> None:
        awaited = self._awaited[message["id"]]
        if "progress" in message:
            if awaited.news is not None:
                awaited.news(*message["progress"])
            return
        with self._lock:
            del self._awaited[message["id"]]
        awaited.settle(Outcome.of(message["outcome"]))

    def _lose(self) -> None:
        """Tell all who wait that it is gone."""
        for awaited in self._awaited.values():
            awaited.settle(
                Outcome(awaited.job.name, failure="lost", exit_code=1, reason=self._why())
            )
        self._awaited.clear()

    def _why(self) -> str:
        """Why it is gone: the last line that it wrote."""
        self._log.seek(0)
        said = self._log.read()[-(1 << 12) :].decode(errors="replace").strip().splitlines()
        return scrub(said[-1]) if said else "the process that watched over it was killed"


def _threads_environment(threads: int) -> dict[str, str]:
    """So many threads for every numerical library, before any of them is loaded."""
    libraries = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM", "NUMBA")
    found = {f"{library}_NUM_THREADS": str(threads) for library in libraries}
    return found | {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
