"""Run a command and print its wall seconds and peak memory in bytes, as the system accounts them.

    python benchmarks/account.py COMMAND [ARG ...]

A process of its own, and a small one: a child's peak starts at the size its parent had.
"""

import os
import sys
import time

began = time.perf_counter()
pid = os.posix_spawnp(
    sys.argv[1],
    sys.argv[1:],
    os.environ,
    file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
