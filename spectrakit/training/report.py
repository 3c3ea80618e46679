"""What the trainer tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StepReport:
    """A step that is done.

    step: updates so far. steps: of the whole training. loss: of the step. metric: of the newest
    evaluation; None before the first. tokens_per_second: since training began, or was resumed.
    seconds_left: at that speed.
    """

    step: int
    steps: int
    loss: float
    metric: float | None
    metric_name: str
    tokens_per_second: float
    seconds_left: float


class Watcher(Protocol):
    """Who is told."""

    def begin(self, step: int, steps: int) -> None:
        """Training begins, or goes on, after `step` updates."""

    def step(self, report: StepReport) -> None:
        """A step is done."""

    def say(self, line: str) -> None:
        """Something happened that is worth a line."""

    def end(self) -> None:
        """Training has ended, however."""


class Quiet:
    """Tells nobody."""

    def begin(self, step: int, steps: int) -> None:
        """Nothing."""

    def step(self, report: StepReport) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
