"""How far a batch is: one bar and the models that run, or a plain line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spectrakit.cli.console import format_bytes, tell
from spectrakit.plain import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.zoo.job import Outcome

#: Seconds between two lines where nobody watches a terminal.
_BETWEEN_LINES = 30.0
#: Running models that are shown by name.
_SHOWN = 6


@contextmanager
def watching() -> Iterator[Counting]:
    """Who tells the user how far a batch is, on stderr."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.live import Live

    watch = _Screen()
    with Live(
        console=Console(stderr=True),
        get_renderable=watch.shown,
        refresh_per_second=4,
        transient=True,
        redirect_stdout=False,
    ):
        yield watch


class Counting:
    """What both ways of telling count."""

    def __init__(self) -> None:
        self.total = self.before = self.done = self.failed = 0
        self.running: dict[str, str] = {}
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, total: int, finished: int, failed: int) -> None:
        """See `Watch`."""
        self.total, self.before, self.failed = total, finished + failed, failed
        self._began = time.monotonic()

    def started(self, name: str) -> None:
        """See `Watch`."""
        with self._lock:
            self.running[name] = ""

    def news(self, name: str, what: str, done: int, total: int | None, unit: str) -> None:
        """See `Watch`."""
        amount = f"{format_bytes(done)}" if unit == "B" else f"{done:,}"
        if total:
            amount += f" of {format_bytes(total)}" if unit == "B" else f" of {total:,} {unit}s"
        with self._lock:
            if name in self.running:
                self.running[name] = f"{what}, {amount}"

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        """See `Watch`."""
        with self._lock:
            self.running.pop(outcome.name, None)
        if not again:
            self.done += 1
        if not outcome.finished and not outcome.busy:
            self.failed += not again
            told = "tried again" if again else "failed"
            tell(f"{told}: {plain(outcome.name)}: {outcome.reason}")

    def tick(self) -> None:
        """See `Watch`."""

    def names(self) -> list[tuple[str, str]]:
        """The running models, those begun first in front, and what each does."""
        with self._lock:
            return list(self.running.items())

    def so_far(self) -> str:
        """How many models are done."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.before + self.done} of {self.total} models{failed}"

    def summary(self) -> str:
        """How far it is, in a line."""
        return f"{self.so_far()}{self._left()}"

    def _left(self) -> str:
        remaining = self.total - self.before - self.done
        if not self.done or not remaining:
            return ""
        seconds = (time.monotonic() - self._began) / self.done * remaining
        return f", about {duration(seconds)} left"


class _Lines(Counting):
    """A plain line every half a minute, for logs."""

    def __init__(self) -> None:
        super().__init__()
        self._told = time.monotonic()

    def tick(self) -> None:
        """See `Watch`."""
        if time.monotonic() - self._told >= _BETWEEN_LINES:
            self._told = time.monotonic()
            names = [plain(name) for name, _ in self.names()[:_SHOWN]]
            running = f"; running: {', '.join(names)}" if names else ""
            tell(f"{self.summary()}{running}")


class _Screen(Counting):
    """One bar for all, and a line for each model that runs."""

    def shown(self) -> RenderableType:
        """As it is now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        top = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(self.total, 1), completed=self.before + self.done, width=30)
        top.add_row(bar, Text(self.summary()))
        running = self.names()
        lines = [
            Text(f"  {plain(name)}  {plain(doing)}", overflow="ellipsis", no_wrap=True)
            for name, doing in running[:_SHOWN]
        ]
        if len(running) > _SHOWN:
            lines.append(Text(f"  and {len(running) - _SHOWN} more"))
        return Group(top, *lines)


def counted(number: int, what: str) -> str:
    """1 model, 2 models."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """To two digits of its largest unit: 40 s, 12 min, 3.5 h, 2.1 days."""
    for unit, length in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < length:
            return f"{seconds:.2g} {unit}" if unit == "h" else f"{seconds:.0f} {unit}"
        seconds /= length
    return f"{seconds:.2g} days"
