"""Ends the process that imports it at a chosen step; first on the path of a batch's processes.

SPECTRAKIT_TEST_DYING names a folder of orders, each for whoever comes to it first:
{"role": "driver", "event": "os.rename", "part": "runs/", "nth": 3}. An order that was carried out
ends in ".done". role: driver, server or child. event: of Python's audit hooks, or "" for each that
has to do with the file system. part: what its first argument contains. errno: of the error that
the step then fails with; without, the process is killed.
"""

import json
import os
import signal
import sys

_STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir"}
_STARTED = os.getpid()


def _arm(path):
    with open(path) as opened:  # noqa: PTH123  (nothing is imported that need not be)
        order = json.load(opened)
    counts = {}

    def hook(event, arguments):
        if event not in ({order["event"]} if order["event"] else _STEPS):
            return
        if (
            order["part"] not in (str(arguments[0]) if arguments else "")
            or _role() != order["role"]
        ):
            return
        counts[os.getpid()] = counts.get(os.getpid(), 0) + 1
        if counts[os.getpid()] == order["nth"]:
            try:
                os.rename(path, path + ".done")  # noqa: PTH104
            except OSError:
                return  # another carried it out
            if order.get("errno"):
                raise OSError(order["errno"], os.strerror(order["errno"]))
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _role():
    words = " ".join(sys.orig_argv)
    if "spectrakit.zoo.forkserver" in words:
        return "server" if os.getpid() == _STARTED else "child"
    return "driver" if " batch " in words else ""


_orders = os.environ.get("SPECTRAKIT_TEST_DYING")
for _name in sorted(os.listdir(_orders)) if _orders else ():  # noqa: PTH208
    if not _name.endswith(".done"):
        _arm(_orders + "/" + _name)
