"""A Dask cluster of processes on 127.0.0.1, each of which can be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRELOAD = Path(__file__).with_name("dask_preload.py")
#: Longest that anything is waited for, in looks of a twentieth of a second.
_LOOKS = 20 * 60


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def until(true, what):
    """Wait until `true()`; `what` is told where that does not come."""
    for _ in range(_LOOKS):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


class DaskCluster:
    """A scheduler and workers, started one by one; what they log is in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.gate = folder / "gate"
        self.processes = []

    def scheduler(self):
        """Start it, at the same address each time."""
        started = self._start("dask_scheduler", ["--host", "127.0.0.1", "--port", str(self.port)])
        until(self._answers, f"the scheduler: {self.logs()}")
        return started

    def worker(self, *options, threads=1, gated=False, **environment):
        """Start one, without a nanny unless an option asks for it."""
        nanny = [] if "--nanny" in options else ["--no-nanny"]
        given = [self.address, "--nthreads", str(threads), "--preload", str(PRELOAD), *nanny]
        more = {"GATE": str(self.gate)} if gated else {}
        return self._start("dask_worker", [*given, *options], **more, **environment)

    def begun(self, *workers):
        """Wait until each of these has begun a job."""
        for worker in workers:
            mark = self.gate.with_name(f"{self.gate.name}.{worker.pid}")
            until(mark.exists, f"a job on {worker.pid}: {self.logs()}")

    def logs(self):
        return "".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))

    def close(self):
        self.gate.touch()
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def _start(self, module, arguments, **environment):
        number = len(self.processes)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        given = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            "DASK_TEMPORARY_DIRECTORY": str(self.folder),
            **environment,
        }
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
        command += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        with (self.folder / f"{number}-{module}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=given)
        self.processes.append(process)
        return process

    def _answers(self):
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0


def kill(process):
    """As `kill -9`."""
    process.send_signal(signal.SIGKILL)
    process.wait()
