"""A process with torch imported that forks a child for each model of a batch, and watches it.

A fork takes some tens of milliseconds where a new interpreter with torch takes seconds. This
process has no threads and touches no model: whatever a model does ends its child alone. It ends
when the process that started it does, and its children with it.

    spectrakit.zoo.forkserver SOCKET [MODULE ...]

Over the socket come `{"start": job, "id": 1}`, `{"end": 1}`; back go `{"id": 1, "progress": [...]}`
and `{"id": 1, "outcome": {...}}`. The modules are imported beforehand.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from spectrakit.memory_limits import available_bytes
from spectrakit.zoo import child, lines
from spectrakit.zoo.gpus import free_gpu
from spectrakit.zoo.interpreters import python
from spectrakit.zoo.job import Job, Outcome
from spectrakit.zoo.parents import die_with_parent
from spectrakit.zoo.warming import warm
from spectrakit.zoo.watched import Watched

if TYPE_CHECKING:
    from _typeshed import HasFileno

#: What is imported here as soon as a child has needed it: spectrakit and what it stands on.
_LIBRARIES = sys.stdlib_module_names | {
    "annotated_types", "cloudpickle", "dateutil", "httpx", "huggingface_hub", "mpmath", "numpy",
    "pandas", "pluggy", "pyarrow", "pydantic", "pydantic_core", "safetensors", "scipy", "sklearn",
    "spectrakit", "sympy", "threadpoolctl", "tokenizers", "torch", "transformers",
    "typing_inspection",
}  # fmt: skip
#: What takes a run in mode data seconds to import: here, so that not each of the first ones does.
_OF_DATA_MODE = ("transformers.modeling_utils", "pandas")
#: Modules that were imported here, or could not be.
_tried: set[str] = set()
#: Seconds between two looks at the children's memory and time.
_PERIOD = 0.1
#: What is left to the system of the memory that was free at the start.
_SHARE = 0.9


class ForkServer:
    """Children by number, and what they were granted of the machine's memory."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming = lines.Incoming(connection)
        self._children: dict[int, Watched] = {}
        #: Jobs that wait for a GPU: one model has one.
        self._waiting: dict[int, dict[str, Any]] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)
        self._memory = _SHARE * (available_bytes("cpu") or float("inf"))
        # A child that ends wakes the loop.
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waking, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until the one who started it is gone."""
        while True:
            for key, _ in self._selector.select(_PERIOD if self._children else None):
                if key.data is not None:
                    self._hear(key.data, key.fileobj)
                elif key.fileobj is self._connection:
                    for message in self._incoming.messages():
                        self._obey(message)
                else:
                    os.read(self._woken, 1 << 12)
            self._look()

    def _obey(self, message: dict[str, Any]) -> None:
        if "start" in message:
            self._waiting[message["id"]] = message["start"]
        elif message["end"] in self._children:
            self._children[message["end"]].end("lost", "it was no longer wanted")
        elif (record := self._waiting.pop(message["end"], None)) is not None:
            self._not_begun(message["end"], record, "it was no longer wanted")

    def _start_waiting(self) -> None:
        """Start what there is room for."""
        for number, record in list(self._waiting.items()):
            job, gpu = Job.of(record), ""
            if job.own:
                taken = (watched.gpu for watched in self._children.values())
                found = free_gpu(job.spec, taken)
                if found is None:
                    continue
                gpu = found
            del self._waiting[number]
            try:
                self._start(number, job, gpu)
            except OSError as error:  # no more processes, say
                self._not_begun(number, record, f"no process could be started: {error.strerror}")

    def _not_begun(self, number: int, record: dict[str, Any], reason: str) -> None:
        outcome = Outcome(record["name"], failure="lost", exit_code=1, reason=reason)
        lines.send(self._connection, {"id": number, "outcome": outcome.record()})

    def _start(self, number: int, job: Job, gpu: str) -> None:
        """A child with its job."""
        if job.spec.get("mode") == "data" and not job.own:
            _import_what_is_needed(_OF_DATA_MODE)
        mine, its = socket.socketpair()
        log, its_log = os.pipe()
        server = os.getpid()
        pid = self._afresh(its, its_log, gpu) if job.own else os.fork()
        if pid == 0:
            self._become_child(server, its, its_log, (mine.fileno(), log))
        its.close()
        os.close(its_log)
        os.set_blocking(log, False)
        self._children[number] = Watched(pid, job, mine, log, gpu)
        for end in (mine, log):
            self._selector.register(end, selectors.EVENT_READ, number)
        with suppress(OSError):  # it ended already: that is noticed in a moment
            lines.send(mine, job.record())

    def _afresh(self, connection: socket.socket, log: int, gpu: str) -> int:
        """A new interpreter, as CUDA asks for, with one GPU where there is one to choose."""
        number = connection.fileno()
        command = python("spectrakit.zoo.child", str(number), str(os.getpid()))
        started = subprocess.Popen(  # noqa: S603  (our own module)
            command,
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}),
        )
        started.returncode = 0  # it is waited for here, not by this object
        return started.pid

    def _become_child(
        self, server: int, connection: socket.socket, log: int, others: tuple[int, ...]
    ) -> NoReturn:
        """Nothing of the server's may be left to the model's code; others: what else to close."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            for watched in self._children.values():
                watched.close()
            self._connection.close()
            for held in (*others, self._woken, self._waking):
                os.close(held)
            for standard in (1, 2):
                os.dup2(log, standard)
            os.close(log)
            die_with_parent(server)
            child.main(connection)
        except BaseException:  # noqa: BLE001  (the server's own loop must not go on in here)
            traceback.print_exc()
        finally:
            os._exit(1)

    def _hear(self, number: int, where: int | HasFileno) -> None:
        """What a child said or printed."""
        watched = self._children[number]
        if isinstance(where, int):
            going = watched.read_log()
        else:
            going = watched.hear()
            if watched.news is not None:
                lines.send(self._connection, {"id": number, "progress": watched.news})
                watched.news = None
        if not going:
            self._selector.unregister(where)

    def _look(self) -> None:
        """Grant memory, end what is beyond its limits, and tell of what has ended."""
        self._start_waiting()
        now = time.monotonic()
        for watched in served(list(self._children.values()), self._memory):
            watched.grant()
        for watched in self._children.values():
            watched.check(now)
        for number, watched in list(self._children.items()):
            ended = watched.ended()
            if not watched.told and (ended or watched.is_finished()):
                watched.told = True
                lines.send(self._connection, {"id": number, "outcome": watched.outcome().record()})
                _import_what_is_needed(watched.imported)
            if ended:
                for end in (watched.connection, watched.log):
                    if end in self._selector.get_map():
                        self._selector.unregister(end)
                watched.close()
                del self._children[number]
                self._start_waiting()

    def end_all(self) -> None:
        """Leave no child behind."""
        for watched in self._children.values():
            watched.end("lost", "the batch ended")


def served(children: Sequence[Watched], total: float) -> Iterator[Watched]:
    """Those whose memory there is room for besides what others were granted, one after the other.

    One alone may have more than there is: whether that fails is then seen.
    """
    for watched in children:
        granted = sum(other.granted for other in children)
        if watched.wants and (not granted or granted + watched.wants <= total):
            yield watched


def _import_what_is_needed(modules: Sequence[str]) -> None:
    """Spare the next child the imports of the last one: of libraries and spectrakit, not plugins.

    They did no harm there. What a plugin's module does when it is imported stays in the children.
    """
    new = [name for name in modules if name not in _tried]
    _tried.update(new)
    for name in new:
        if name.partition(".")[0] in _LIBRARIES and name not in sys.modules:
            with suppress(Exception):
                import_module(name)
    if new:
        gc.freeze()


def main(arguments: list[str]) -> None:
    """Serve over the socket whose number is the first argument."""
    number, *modules = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in modules:
        import_module(module)
    warm()
    gc.collect()
    gc.freeze()  # so that a child's collector does not copy the pages it shares
    server = ForkServer(socket.socket(fileno=int(number)))
    try:
        server.serve()
    except (EOFError, OSError):
        pass  # the one who started it is gone
    finally:
        server.end_all()
        os._exit(0)  # torch takes its time to be torn down


if __name__ == "__main__":
    main(sys.argv[1:])
