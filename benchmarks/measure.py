"""Measuring whole processes and pieces of code: medians, ratios of neighbours, peak memory."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_ACCOUNT = Path(__file__).with_name("account.py")


@dataclass(frozen=True)
class Finished:
    """One process from outside: wall seconds, and the most memory it ever held."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, the figure, the bound it is held to."""

    what: str
    figure: str
    bound: str
    met: bool


def run_process(command: Sequence[str], **environment: str) -> Finished:
    """Run `command` to its end and account for it. Raises RuntimeError where it fails."""
    done = subprocess.run(
        [sys.executable, "-S", str(_ACCOUNT), *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    seconds, peak = done.stdout.split()
    return Finished(float(seconds), int(peak))


def in_turns(
    first: Callable[[], Finished], second: Callable[[], Finished], times: int = 5
) -> tuple[list[Finished], list[Finished]]:
    """Run both in turn, after a warm-up of each: neighbours see the same machine."""
    first(), second()
    pairs = [(first(), second()) for _ in range(times)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def ratio(first: Sequence[Finished], second: Sequence[Finished]) -> float:
    """Median of the pairwise ratios of their wall times."""
    return statistics.median(a.seconds / b.seconds for a, b in zip(first, second, strict=True))


def median_seconds(runs: Sequence[Finished]) -> float:
    return statistics.median(run.seconds for run in runs)


def median_peak(runs: Sequence[Finished]) -> float:
    return statistics.median(run.peak_bytes for run in runs)


def timed(work: Callable[[], object]) -> Finished:
    """Wall time of one call in this process."""
    began = time.perf_counter()
    work()
    return Finished(time.perf_counter() - began, 0)


def python(code: str) -> list[str]:
    """The command that runs `code` with this interpreter."""
    return [sys.executable, "-c", code]


def spectrakit(*arguments: str) -> list[str]:
    """The command line of this environment's spectrakit."""
    return [str(Path(sys.executable).with_name("spectrakit")), *arguments]


def hardware() -> str:
    """Processor, cores and memory, as part of a file name."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2]
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = f"{model} {os.cpu_count()} cores {memory:.0f} GiB"
    return "-".join("".join(c if c.isalnum() else " " for c in name).lower().split())
