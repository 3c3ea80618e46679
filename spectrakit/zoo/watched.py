"""One child of the fork server: its limits, what it said, and what became of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from spectrakit.errors import scrub
from spectrakit.plain import plain
from spectrakit.wording import named, speaking_flags
from spectrakit.zoo import lines
from spectrakit.zoo.job import Failure, Job, Outcome

#: What is kept of what a child prints.
_LOG_BYTES, _LOG_LINES = 1 << 14, 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: What `ru_maxrss` counts in.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
#: Where a control group, and the machine, count what they ended for want of memory.
_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


class Watched:
    """A child process under way. gpu: the one that no other child may have; "" for none."""

    def __init__(
        self, pid: int, job: Job, connection: socket.socket, log: int, gpu: str = ""
    ) -> None:
        self.pid, self.job, self.gpu = pid, job, gpu
        self.connection, self.log = connection, log
        self.granted = self.wants = 0
        self.news: list[Any] | None = None
        self.imported: list[str] = []
        #: Whether its outcome was told: of a finished run, before the process is over.
        self.told = False
        self._incoming = lines.Incoming(connection)
        self._printed = b""
        self._outcome: Outcome | None = None
        self._ended_for: tuple[Failure, str] | None = None
        self._status: int | None = None
        self._peak = 0
        self._started = time.monotonic()
        self._waited_since: float | None = None
        self._waited = 0.0
        self._ended_by_system = _ended_for_memory()
        self._idle = _resident(pid)

    def hear(self) -> bool:
        """Take in what the child said; False when it will say no more."""
        try:
            for message in self._incoming.messages():
                if "outcome" in message:
                    self._outcome = Outcome.of(message["outcome"])
                elif "imported" in message:
                    self.imported = message["imported"]
                elif "need" in message:
                    self.wants = max(int(message["need"]), 1)
                    self._waited_since = time.monotonic()
                else:
                    self.news = message["progress"]
        except (EOFError, OSError):
            return False
        except (ValueError, KeyError, TypeError, AttributeError):
            self.end("crashed", "what it had to say was garbled")
            return False
        return True

    def read_log(self) -> bool:
        """Keep the end of what it prints; False when it will print no more."""
        with suppress(BlockingIOError):
            got = os.read(self.log, 1 << 16)
            self._printed = (self._printed + got)[-_LOG_BYTES:]
            return bool(got)
        return True

    def grant(self) -> None:
        """Let it have the memory that it waits for."""
        self.granted, self.wants = self.wants, 0
        if self._waited_since is not None:
            self._waited += time.monotonic() - self._waited_since
            self._waited_since = None
        with suppress(OSError):
            lines.send(self.connection, {"granted": self.granted})

    def check(self, now: float) -> None:
        """End it where it is beyond its limits."""
        limits = self.job.limits
        if self._waited_since is None and now - self._started - self._waited > limits.seconds:
            self.end("time", f"it took more than {limits.seconds:g} s")
        elif limits.memory is not None and _resident(self.pid) - self._idle > limits.memory:
            self.end("memory", f"it took more than {limits.memory / 1e9:.3g} GB of memory")

    def end(self, failure: Failure, reason: str) -> None:
        """Kill it and what it started."""
        if self._ended_for is None:
            self._ended_for = (failure, reason)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):  # before it had a group of its own
            os.kill(self.pid, signal.SIGKILL)

    def is_finished(self) -> bool:
        """Whether its run is made; its process, with all of torch, takes a while to end."""
        if self._outcome is None or not self._outcome.finished:
            return False
        self._peak = _most_resident(self.pid)
        return self._peak > 0

    def ended(self) -> bool:
        """Whether the process is over; its last words are then taken in."""
        try:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status, usage = self.pid, 0, None
        if pid == 0:
            return False
        self._status = os.waitstatus_to_exitcode(status)
        self._peak = self._peak if usage is None else usage.ru_maxrss * _MAXRSS_UNIT
        self.connection.setblocking(False)
        while self.hear():
            pass
        while self._more_log():
            pass
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it left running
        return True

    def _more_log(self) -> bool:
        before = self._printed
        return self.read_log() and self._printed != before

    def outcome(self) -> Outcome:
        """What became of it."""
        seconds = time.monotonic() - self._started - self._waited
        found = self._outcome or self._without_words()
        log = "" if found.finished else self._last_lines()
        return replace(found, seconds=seconds, peak_memory=self._peak, log=log)

    def _without_words(self) -> Outcome:
        """Of a process that ended before it could say anything."""
        failure: Failure
        name, status = self.job.name, self._status or 0
        hint = None
        if self._ended_for is not None:
            failure, reason = self._ended_for
            if failure in ("time", "memory"):
                with speaking_flags() if self.job.flags else nullcontext():
                    hint = f"a larger {named(f'{failure}_limit')}"
        elif status >= 0:
            failure, reason = "exited", f"its code ended the process (exit status {status})"
        elif -status == signal.SIGKILL and _ended_for_memory() > self._ended_by_system:
            failure, reason = "memory", "the system ended it for want of memory"
            hint = "fewer models at once"
        elif -status in (signal.SIGKILL, signal.SIGTERM):
            failure, reason = "killed", f"it was killed ({_signal_name(-status)})"
        else:
            failure, reason = "crashed", f"its process crashed ({_signal_name(-status)})"
        return Outcome(name, failure=failure, exit_code=1, reason=reason, hint=hint)

    def _last_lines(self) -> str:
        text = re.sub(r"\r\n?", "\n", self._printed.decode(errors="replace"))
        return plain(scrub("\n".join(text.splitlines()[-_LOG_LINES:])), keep="\n")

    def close(self) -> None:
        """Let go of this side's ends."""
        self.connection.close()
        with suppress(OSError):
            os.close(self.log)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _resident(pid: int) -> int:
    """Bytes of memory that a process has now; 0 where that cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _most_resident(pid: int) -> int:
    """Bytes of memory that a process ever had; 0 where that cannot be told."""
    with suppress(OSError, ValueError, StopIteration):
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    return 0


def _ended_for_memory() -> int:
    """How many processes the system has ended for want of memory so far."""
    for path in _COUNTERS:
        with suppress(OSError, ValueError):
            words = path.read_text().split()
            return int(words[words.index("oom_kill") + 1])
    return 0
