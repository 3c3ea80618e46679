"""How long work tells how far it is, without knowing who is looking.

The command line shows a bar; the Python API is silent unless the caller passes a `Progress`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of long work under way."""

    def advance(self, amount: int) -> None:
        """`amount` more units (bytes, tokens, layers) are done."""


class Progress(Protocol):
    """Where long work reports to."""

    @contextmanager
    def task(self, what: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """Open a piece of work of `total` units (None: not known); it ends with the block."""
        ...


class _SilentTask:
    def advance(self, amount: int) -> None:
        """Do nothing."""


class Silent:
    """A `Progress` that shows nothing."""

    @contextmanager
    def task(self, what: str, *, total: int | None, unit: str) -> Iterator[Task]:  # noqa: ARG002
        """A piece of work nobody watches."""
        yield _SilentTask()
