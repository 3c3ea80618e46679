"""Ctrl-C, and being told to end: the step is finished and saved first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """A context manager that notes SIGINT and SIGTERM; a second one ends at once.

    Outside the main thread, where Python hands out no signals, nothing is noted.
    """

    def __init__(self) -> None:
        self.noted: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def raise_noted(self) -> None:
        """End as the signal wanted. Raises KeyboardInterrupt, or SystemExit of 128 + its number."""
        if self.noted == signal.SIGINT:
            raise KeyboardInterrupt
        if self.noted is not None:
            raise SystemExit(128 + self.noted)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.noted is not None:
            raise KeyboardInterrupt
        self.noted = number
