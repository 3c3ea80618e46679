"""A batch from the command line, killed at chosen moments, and what must be true of it then."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from spectrakit.zoo.journal import journal_lines
from spectrakit.zoo.runs import finished_run

ROOT = Path(__file__).parents[2]
DYING = Path(__file__).with_name("dying")
#: Nobody waits longer for anything here.
_LONGEST = 120.0


@dataclass(frozen=True)
class Kill:
    """One process of a batch, ended at one moment.

    role: driver, server or child. signal: by which. moment: ("after", seconds of the batch),
    ("lines", of the journal), or ("step", the audit event, what it is about, which of them).
    """

    role: str
    moment: tuple
    signal: int = signal.SIGKILL

    def order(self, folder: Path) -> Path:
        """The file that has `dying` do it."""
        _, event, part, nth = self.moment
        file = folder / str(self)
        file.write_text(json.dumps({"role": self.role, "event": event, "part": part, "nth": nth}))
        return file

    def said(self) -> str:
        """When it is, for a reader."""
        match self.moment:
            case "after", seconds:
                return f"{seconds:.1f} s after the start"
            case "lines", count:
                return f"after line {count} of the journal"
            case _, event, part, nth:
                return f"at {event or 'access'} {nth} to {part.strip('/') or 'any'}"
        raise ValueError(self.moment)

    def __str__(self) -> str:
        name = "" if self.signal == signal.SIGKILL else f"-{signal.Signals(self.signal).name}"
        return f"{self.role}{name}-{'-'.join(str(part).strip('/') for part in self.moment)}"


@dataclass
class Command:
    """A batch as the user begins it, again and again.

    environment: what is added to this one's. where: the working directory; None for this one's.
    """

    words: list[str]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    where: Path | None = None

    def start(self, *before: str, **environment: str) -> subprocess.Popen:
        own = os.environ | {"SPECTRAKIT_LOAD_PLUGINS": "", "SPECTRAKIT_TEST_MARK": str(self.folder)}
        own |= self.environment | environment
        paths = [environment.get("PYTHONPATH", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]
        own["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        # As the installed command, which does not look into the working directory.
        words = [*before, sys.executable, "-P", "-m", "spectrakit", "batch", *self.words]
        return subprocess.Popen(
            [*words, "--out", self.folder],
            cwd=self.where, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, *before: str, **environment: str) -> subprocess.CompletedProcess:
        with self.start(*before, **environment) as process:
            out, err = process.communicate(timeout=_LONGEST)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def killed(self, kills: Sequence[Kill], scratch: Path) -> tuple[int, list[Kill]]:
        """Run it with these kills; its exit code, and those that came about.

        scratch: a folder for orders, which is made.
        """
        orders = scratch / f"orders-{len(list(scratch.glob('orders-*')))}"
        orders.mkdir()
        environment = dying(orders)
        steps = {kill: kill.order(orders) for kill in kills if kill.moment[0] == "step"}
        with self.start(**environment) as process:
            threads = [Assassin(kill, process, self.folder) for kill in kills if kill not in steps]
            process.communicate(timeout=_LONGEST)
            for thread in threads:
                thread.join()
        happened = [thread.kill for thread in threads if thread.happened]
        happened += [kill for kill, order in steps.items() if not order.exists()]
        if process.returncode == 0:  # it had ended by itself just then
            happened = [kill for kill in happened if kill.role != "driver"]
        return process.returncode, happened


def dying(orders: Path) -> dict[str, str]:
    """The environment in which these are carried out: see `dying/sitecustomize.py`."""
    return {"PYTHONPATH": str(DYING), "SPECTRAKIT_TEST_DYING": str(orders)}


class Assassin(threading.Thread):
    """Waits for the moment of one kill from outside, as long as the batch lives."""

    def __init__(self, kill: Kill, process: subprocess.Popen, folder: Path) -> None:
        super().__init__()
        self.kill, self.happened = kill, False
        self._process, self._folder = process, folder
        self.start()

    def run(self) -> None:
        what, amount = self.kill.moment
        before = count_lines(self._folder)
        began = time.monotonic()
        while self._process.returncode is None:
            now = (
                count_lines(self._folder) - before if what == "lines" else time.monotonic() - began
            )
            if now >= amount and self._strike():
                self.happened = True
                return
            time.sleep(0.002)

    def _strike(self) -> bool:
        """Whether there was such a process."""
        driver = self._process.pid
        if self.kill.role == "driver":
            found = [driver]
        else:
            found = {"server": servers, "child": grandchildren}[self.kill.role](driver)
        for pid in found[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, self.kill.signal)
                return True
        return False


def count_lines(folder: Path) -> int:
    """Whole lines of all journals."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("journal/*.jsonl"))


def children_of(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    return []


def servers(driver: int) -> list[int]:
    return [pid for pid in children_of(driver) if "forkserver" in command_line(pid)]


def grandchildren(driver: int) -> list[int]:
    return [child for server in servers(driver) for child in children_of(server)]


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def left_running(marker: str) -> list[int]:
    """Processes whose environment has this text, once those that were killed had time to go."""
    for _ in range(500):
        found = [int(path.name) for path in Path("/proc").glob("[1-9]*") if _has(path, marker)]
        if not found:
            break
        time.sleep(0.01)
    return found


def _has(process: Path, marker: str) -> bool:
    with suppress(OSError):
        return marker.encode() in (process / "environ").read_bytes()
    return False


def tables(folder: Path) -> dict[str, str]:
    """Every table of every run, and of the summary, by its content."""
    files = [*folder.glob("runs/*/*.parquet"), *folder.glob("summary/*.parquet")]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def paths(folder: Path) -> set[str]:
    """Everything that is in the folder, but for the journals' files, which have numbers."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {path for path in found if not path.startswith("journal/")}


def finished_times(folder: Path) -> dict[str, int]:
    """When each run that is whole was finished."""
    runs = [path for path in folder.glob("runs/*") if finished_run(path) is not None]
    return {run.name: (run / "run.json").stat().st_mtime_ns for run in runs}


def times(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file each path is, and when it was written."""
    found = ((path, path.stat()) for path in folder.rglob("*"))
    return {str(path): (status.st_ino, status.st_mtime_ns) for path, status in found}


def computed(folder: Path) -> dict[tuple[str, str], int]:
    """How often the journals say that the run of an entry with a key was made."""
    counts: dict[tuple[str, str], int] = {}
    for line in journal_lines(folder / "journal"):
        if line["event"] == "finished" and line["outcome"]["computed"]:
            counts[line["name"], line["key"]] = counts.get((line["name"], line["key"]), 0) + 1
    return counts


def assert_as_undisturbed(folder: Path, undisturbed: Path) -> None:
    """The dataset is that of a batch that nothing happened to, and nothing else is there."""
    assert tables(folder) == tables(undisturbed)
    assert paths(folder) == paths(undisturbed)
    assert set(computed(folder).values()) <= {1}
    began_after_its_end(folder)


def began_after_its_end(folder: Path) -> None:
    """Fail where an entry was made again after it was finished."""
    finished: set[tuple[str, str]] = set()
    for line in journal_lines(folder / "journal"):
        if line["event"] == "finished":
            known = (line["name"], line["key"]) in finished
            assert not (known and line["outcome"]["computed"]), line
            finished.add((line["name"], line["key"]))


_STEPS = {
    "driver": [("", "/.claims", 50), ("", "batch.json", 4), ("os.rename", "/.claims", 1),
               ("", "/summary", 6), ("open", "/runs/", 40), ("", "/journal", 6)],
    "server": [("os.fork", "", 6)],
    "child": [("os.rename", "/runs/", 7), ("", "/runs/", 50), ("os.remove", "/runs/", 4),
              ("", "/summary", 40)],
}  # fmt: skip


def random_kills(seed: int, seconds: float) -> list[list[Kill]]:
    """Three kills, one of each role, in one batch or in several in turn; `seed` decides.

    seconds: that the batch takes when nothing happens to it.
    """
    dice = random.Random(seed)
    kills = [Kill(role, _moment(dice, role, seconds)) for role in ("driver", "child", "server")]
    first = dice.randint(1, 3)  # the driver's is among them: after it there is something left
    return [kills[:first], kills[first:]] if first < 3 else [kills]


def _moment(dice: random.Random, role: str, seconds: float) -> tuple:
    what = dice.choice(["after", "lines", "step", "step"])
    if what == "after":
        return what, round(dice.uniform(0.3, 0.8 * seconds), 3)
    if what == "lines":
        return what, dice.randint(1, 14)
    event, part, most = dice.choice(_STEPS[role])
    return what, event, part, dice.randint(1, most)


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to
