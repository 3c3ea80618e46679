"""The tasks by name: spectrakit's own, and those of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.plugins import plugins

if TYPE_CHECKING:
    from spectrakit.training.data.base import Task


def names() -> tuple[str, ...]:
    """Every task that a recipe may name."""
    return tuple(plugins().register().tasks.things)


def task(name: str) -> Task:
    """The task called `name`. Raises UsageError where there is none."""
    return plugins().register().tasks[name]()
