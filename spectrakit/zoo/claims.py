"""Who works on what: several drivers may share one folder, and none does what another is doing.

A driver leaves a file that says which process it is, and for each entry that it works on a file
with its number. A driver that died is told by its process id, the boot of its machine and the time
its process began; of another machine by a count that it raises now and then: no clock is compared.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from spectrakit.tables.folders import plain_errors

#: Seconds between two beats of a driver, and without one until another machine takes it for dead.
BEAT, SILENCE = 10.0, 60.0
#: What the driver with this number is writing, or is about to remove.
_PARTIAL = re.compile(r"driver-(\d+)\.new|gone-(\d+)-.*")
#: Seconds that another driver is given from making a claim to writing its number into it.
_WRITES = 0.05


class Claims:
    """The claims of one driver in the folder `.claims`; a context manager that leaves none."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number
        self._beats = 0
        self._beaten = 0.0
        self._held: set[str] = set()
        #: Of drivers on other machines: their beats, and since when these have not changed.
        self._heard: dict[int, tuple[int, float]] = {}

    def __enter__(self) -> Claims:
        with plain_errors(self._folder):
            self._come_in()
            self.sweep()
        return self

    def _come_in(self) -> None:
        """Leave the driver's file; the folder may go meanwhile, with the last of the others."""
        while True:
            self._folder.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                self._write()
                return

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            for name in list(self._held):
                self.drop(name)
            self._driver(self._number).unlink(missing_ok=True)
            self.sweep()  # what an interrupt left half-done: a claim without a number, a beat

    def _go(self) -> None:
        with suppress(OSError):  # another driver is at work
            self._folder.rmdir()

    def path(self, name: str) -> Path:
        """The file that claims the entry `name`."""
        return self._folder / f"entry-{name}"

    def take(self, name: str) -> bool:
        """Claim an entry; False where a driver that is alive has it."""
        with plain_errors(self._folder):
            for _ in range(2):
                try:
                    descriptor = os.open(
                        self.path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644
                    )
                except FileExistsError:
                    if self.holder(name) is not None:
                        return False
                    self._clear(self.path(name))
                    continue
                self._held.add(name)
                try:
                    os.write(descriptor, str(self._number).encode())
                finally:
                    os.close(descriptor)
                return True
        return False

    def drop(self, name: str) -> None:
        """Let an entry go, unless another has taken it over."""
        self._held.discard(name)
        with suppress(OSError):
            if _number_in(self.path(name)) == self._number:
                self.path(name).unlink(missing_ok=True)

    def holder(self, name: str) -> str | None:
        """Who works on an entry: "host, process 123"; None where nobody does."""
        driver = self._read(number := _number_in(self.path(name)))
        if driver is None or not self._alive(number, driver):
            return None
        return f"{driver['host']}, process {driver['pid']}"

    def beat(self) -> None:
        """Show that this driver is alive; to be called often, does little. Raises OutputError."""
        if time.monotonic() - self._beaten >= BEAT:
            with plain_errors(self._folder):
                self._write()

    def _write(self) -> None:
        self._beats += 1
        self._beaten = time.monotonic()
        told = {**_this_process(), "beats": self._beats}
        path = self._driver(self._number)
        partial = path.with_suffix(".new")
        partial.write_text(json.dumps(told))
        partial.replace(path)

    def others(self) -> list[str]:
        """The other drivers that are alive."""
        found = []
        for number in self._drivers():
            driver = self._read(number)
            if number != self._number and driver is not None and self._alive(number, driver):
                found.append(f"{driver['host']}, process {driver['pid']}")
        return found

    def sweep(self) -> None:
        """Clear away what drivers left that died, and the folder where there is nothing else."""
        for number in self._drivers():
            if not self._lives(number):
                self._driver(number).unlink(missing_ok=True)
        for path in self._folder.glob("entry-*"):
            if not self._lives(_number_in(path)):
                self._clear(path)
        for path in [*self._folder.glob("driver-*.new"), *self._folder.glob("gone-*")]:
            found = _PARTIAL.fullmatch(path.name)
            if found is None or not self._lives(int(found[1] or found[2])):
                path.unlink(missing_ok=True)
        self._go()

    def _clear(self, path: Path) -> None:
        """Remove a claim of the dead; by renaming, so that it is seen if it was another's by then.

        That one had cleared it, too, and claimed it.
        """
        aside = path.with_name(f"gone-{self._number}-{path.name}")
        with suppress(FileNotFoundError):
            path.rename(aside)
            if self._lives(_number_in(aside)):
                aside.rename(path)
            else:
                aside.unlink()

    def _lives(self, number: int) -> bool:
        driver = self._read(number)
        return driver is not None and self._alive(number, driver)

    def _drivers(self) -> list[int]:
        names = (path.stem.removeprefix("driver-") for path in self._folder.glob("driver-*.json"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _driver(self, number: int) -> Path:
        return self._folder / f"driver-{number}.json"

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            found = json.loads(self._driver(number).read_text())
            told = {"beats": 0, "boot": "", "began": "", "namespace": _namespace(), **found}
            return told if "pid" in found and "host" in found else None
        except (OSError, ValueError, TypeError):
            return None

    def _alive(self, number: int, driver: dict[str, Any]) -> bool:
        if number == self._number:
            return True
        own = _this_process()
        if (driver["host"], driver["namespace"]) != (own["host"], own["namespace"]):
            return self._heard_lately(number, driver["beats"])
        same_boot = driver["boot"] == own["boot"]
        return bool(same_boot and _began(driver["pid"]) == driver["began"] is not None)

    def _heard_lately(self, number: int, beats: int) -> bool:
        """Whether a driver on another machine has raised its count within a minute of watching."""
        heard, since = self._heard.get(number, (None, 0.0))
        if heard != beats:
            self._heard[number] = (beats, time.monotonic())
            return True
        return time.monotonic() - since < SILENCE


def _number_in(path: Path) -> int:
    """The number of the driver that made a claim; -1 where it does not say."""
    for wait in (_WRITES, 0.0):
        try:
            text = path.read_text()
        except (OSError, ValueError):
            return -1
        if text:
            break
        time.sleep(wait)  # it may be about to be written
    return int(text) if text.isdecimal() else -1


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
    }


def _boot() -> str:
    """The boot of this machine: process ids begin anew with the next."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    """Of process ids: a container of this machine has its own, and cannot see ours."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _began(pid: int) -> str | None:
    """When the process began, as the kernel counts; "" where it does not; None if it ended."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.parent.parent.joinpath("self").exists():  # not Linux
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            return ""
        return ""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
