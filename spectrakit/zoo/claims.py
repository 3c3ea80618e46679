"""Who works on what: several drivers may share one folder, and none does what another is doing.

A driver leaves a file that says which process it is, and for each entry that it works on a file
with its number. A driver that died is told by its process id, the boot of its machine and the time
its process began; of another machine by a count that it raises now and then: no clock is compared.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from spectrakit.tables.folders import plain_errors

#: Seconds between two beats of a driver, and without one until another machine takes it for dead.
BEAT, SILENCE = 10.0, 60.0


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
            self._folder.mkdir(exist_ok=True)
            self.beat(now=True)
            self._sweep()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            for name in self._held:
                self.path(name).unlink(missing_ok=True)
            self._driver(self._number).unlink(missing_ok=True)
            self._folder.rmdir()  # where no other driver is at work

    def path(self, name: str) -> Path:
        """The file that claims the entry `name`."""
        return self._folder / f"entry-{name}"

    def take(self, name: str) -> bool:
        """Claim an entry; False where a driver that is alive has it."""
        with plain_errors(self._folder):
            for _ in range(2):
                try:
                    descriptor = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                except FileExistsError:
                    if self.holder(name) is not None:
                        return False
                    self._clear(self.path(name))
                    continue
                os.write(descriptor, str(self._number).encode())
                os.close(descriptor)
                self._held.add(name)
                return True
        return False

    def drop(self, name: str) -> None:
        """Let an entry go."""
        self._held.discard(name)
        with suppress(OSError):
            self.path(name).unlink(missing_ok=True)

    def holder(self, name: str) -> str | None:
        """Who works on an entry: "host, process 123"; None where nobody does."""
        try:
            number = int(self.path(name).read_text() or 0)
        except (OSError, ValueError):
            return None
        driver = self._read(number)
        if driver is None or not self._alive(number, driver):
            return None
        return f"{driver['host']}, process {driver['pid']}"

    def beat(self, *, now: bool = False) -> None:
        """Show that this driver is alive; to be called often, does little."""
        if not now and time.monotonic() - self._beaten < BEAT:
            return
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

    def _sweep(self) -> None:
        """Clear away what drivers left that died."""
        for number in self._drivers():
            driver = self._read(number)
            if driver is None or not self._alive(number, driver):
                self._driver(number).unlink(missing_ok=True)
        for path in self._folder.glob("entry-*"):
            if self.holder(path.name.removeprefix("entry-")) is None:
                self._clear(path)
        for path in self._folder.glob("*.new"):
            if path.stem != self._driver(self._number).stem:
                path.unlink(missing_ok=True)

    def _clear(self, path: Path) -> None:
        """Remove a claim of the dead, unless another has done so and claimed it: by renaming."""
        aside = path.with_name(f"{path.name}.{self._number}.new")
        with suppress(FileNotFoundError):
            path.rename(aside)
            aside.unlink()

    def _drivers(self) -> list[int]:
        names = (path.stem.removeprefix("driver-") for path in self._folder.glob("driver-*.json"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _driver(self, number: int) -> Path:
        return self._folder / f"driver-{number}.json"

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            found = json.loads(self._driver(number).read_text())
            return {"beats": 0, "boot": "", "began": "", **found} if "pid" in found else None
        except (OSError, ValueError, TypeError):
            return None

    def _alive(self, number: int, driver: dict[str, Any]) -> bool:
        if number == self._number:
            return True
        own = _this_process()
        if driver["host"] != own["host"]:
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


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
    }


def _boot() -> str:
    """The boot of this machine: process ids begin anew with the next."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
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
