"""The tasks by name: spectrakit's own, and those that plugins registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.errors import UsageError
from spectrakit.registry import Deferred
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from spectrakit.training.data.base import Task

_DATA = "spectrakit.training.data"

#: Each imported when it is asked for.
_TASKS: dict[str, Deferred[type[Task]] | type[Task]] = {
    name: Deferred(name, f"{_DATA}.{place}")
    for name, place in {
        "digits": "digits:Digits",
        "mqar": "mqar:MQAR",
        "listops": "listops:ListOps",
        "copying": "copying:Copying",
        "adding": "adding:Adding",
        "bytes": "text:Bytes",
    }.items()
}


def add(task: type[Task]) -> None:
    """Take in a task of a plugin."""
    _TASKS[task.name] = task


def names() -> tuple[str, ...]:
    """Every task that a recipe may name."""
    return tuple(_TASKS)


def task(name: str) -> Task:
    """The task called `name`. Raises UsageError where there is none."""
    if name not in _TASKS:
        message = f"unknown task {name!r}; one of: {', '.join(_TASKS)}"
        raise UsageError(message, hint=did_you_mean(name, _TASKS))
    found = _TASKS[name]
    return (found.load() if isinstance(found, Deferred) else found)()
