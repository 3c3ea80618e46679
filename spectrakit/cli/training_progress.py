"""How far training is: a bar where a person watches, else a plain line each half minute."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from spectrakit.cli.console import tell

if TYPE_CHECKING:
    from spectrakit.training.report import StepReport, Watcher

#: Seconds between plain lines.
_PERIOD = 30.0


def progress() -> Watcher:
    """Who watches a run of the command line."""
    return _Bar() if sys.stderr.isatty() else _Lines()


class _Lines:
    """A plain line each half minute, and one at the end."""

    def __init__(self) -> None:
        self._told = time.monotonic()
        self._last: StepReport | None = None

    def begin(self, step: int, steps: int) -> None:
        if step:
            tell(f"going on after step {step:,} of {steps:,}")

    def step(self, report: StepReport) -> None:
        self._last = report
        if time.monotonic() - self._told >= _PERIOD:
            self._told = time.monotonic()
            tell(_line(report))

    def say(self, line: str) -> None:
        tell(line)

    def end(self) -> None:
        if self._last is not None:
            tell(_line(self._last))


class _Bar:
    """A bar of rich that vanishes when training has ended."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._task: Any = None

    def begin(self, step: int, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bars = Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bars.add_task("", total=steps, completed=step)
        self._bars.start()

    def step(self, report: StepReport) -> None:
        self._bars.update(self._task, completed=report.step, description=_numbers(report))

    def say(self, line: str) -> None:
        self._bars.console.print(line, markup=False)

    def end(self) -> None:
        if self._bars is not None:
            self._bars.stop()


def _line(report: StepReport) -> str:
    return f"step {report.step:,} of {report.steps:,}: {_numbers(report)}"


def _numbers(report: StepReport) -> str:
    metric = ""
    if report.metric is not None:
        metric = f", validation {report.metric_name.replace('_', ' ')} {report.metric:.4g}"
    minutes, seconds = divmod(round(report.seconds_left), 60)
    left = f", {minutes}:{seconds:02d} left" if report.step < report.steps else ""
    return f"loss {report.loss:.4f}{metric}, {report.tokens_per_second:,.0f} tokens/s{left}"
