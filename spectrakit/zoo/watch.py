"""How a batch tells how far it is, without knowing who is looking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spectrakit.zoo.job import Outcome


class Watch(Protocol):
    """Who is told how far a batch is."""

    def begin(self, total: int, finished: int, failed: int) -> None:
        """Of `total` entries, so many have been finished, and have failed, before."""

    def started(self, name: str) -> None:
        """An entry is being run."""

    def news(self, name: str, what: str, done: int, total: int | None, unit: str) -> None:
        """How far it is; may be called from other threads."""

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        """What became of it, and whether it is tried again."""

    def tick(self) -> None:
        """Some time has passed."""


class Unwatched:
    """A `Watch` that tells nobody."""

    def begin(self, total: int, finished: int, failed: int) -> None:
        """See `Watch`."""

    def started(self, name: str) -> None:
        """See `Watch`."""

    def news(self, name: str, what: str, done: int, total: int | None, unit: str) -> None:
        """See `Watch`."""

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        """See `Watch`."""

    def tick(self) -> None:
        """See `Watch`."""
