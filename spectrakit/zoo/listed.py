"""What a list, or the command line, says of one model; and where, for messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spectrakit.errors import MalformedError, UsageError

if TYPE_CHECKING:
    from spectrakit.spec import RunSpec

#: A message says no more of what it is about: a list may hold a text of megabytes.
_LONGEST_MESSAGE = 400


class Settings(NamedTuple):
    """Settings of a run whose model is not named yet.

    own: what a list says besides the command line, as text; "" where it says nothing.
    """

    spec: RunSpec
    own: str = ""


class Listed(NamedTuple):
    """What is said of one model, or of several at once.

    target: a path, a catalog name, a repository, a pattern. name: what its run is to be called.
    folder: where relative paths begin; None for the working directory. where: the place, for
    messages; "" for the command line.
    """

    target: str
    settings: Settings
    revision: str | None = None
    name: str | None = None
    folder: Path | None = None
    where: Callable[[], str] = str


@contextmanager
def said_at(where: Callable[[], str]) -> Iterator[None]:
    """Errors of this block begin with the place in the list that they are about."""
    try:
        yield
    except (UsageError, MalformedError) as error:
        place = where()
        message = f"{place}: {error.message}" if place else error.message
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]}..."
        kind = UsageError if isinstance(error, UsageError) else MalformedError
        raise kind(message, hint=error.hint) from error


def text_or_none(value: object, what: str) -> str | None:
    """`value` where it is a text without white space around it, None where it is none or empty.

    Raises UsageError for anything else.
    """
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{what} must be a text, not {value!r}")
    return (value or "").strip() or None
