"""Where output goes: data to stdout, everything else to stderr; bars only for people."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spectrakit.errors import scrub
from spectrakit.plain import plain
from spectrakit.progress import Progress, Silent, Task

if TYPE_CHECKING:
    from rich import progress as rich_progress
    from rich.console import RenderableType


def print_data(renderable: RenderableType) -> None:
    """Print a table or text to stdout, as it is: what comes from files is neither markup nor codes.

    See `spectrakit.report.plain_console`.
    """
    from spectrakit.report.plain_console import PlainConsole

    PlainConsole(markup=False, emoji=False).print(renderable)


def print_json(document: Mapping[str, Any]) -> None:
    """Print exactly one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def format_bytes(count: float) -> str:
    """A number of bytes to three digits: 39.2 kB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def tell(text: str) -> None:
    """Tell the user something that is not data, on stderr."""
    sys.stderr.write(plain(scrub(text), keep="\n") + "\n")


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        label = "note" if record.levelno < logging.WARNING else record.levelname.lower()
        tell(f"{label}: {plain(record.getMessage())}")


def show_notes() -> None:
    """Show what the library notes (which of two names was meant, say) on stderr."""
    logger = logging.getLogger("spectrakit")
    logger.handlers = [_NoteHandler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def terminal_progress() -> Progress:
    """Bars on stderr where a person watches it, otherwise nothing."""
    return _Bars() if sys.stderr.isatty() else Silent()


class _Bars:
    """A `Progress` of rich bars that vanish when their work is done."""

    @contextmanager
    def task(self, what: str, *, total: int | None, unit: str) -> Iterator[Task]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        amount = DownloadColumn() if unit == "B" else MofNCompleteColumn()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            amount,
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            yield _Bar(bars, bars.add_task(plain(what), total=total))


class _Bar:
    def __init__(self, bars: rich_progress.Progress, task: rich_progress.TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)
