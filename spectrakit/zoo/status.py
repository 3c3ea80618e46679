"""How a batch stands: told from its journals, its runs and the claims of live drivers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from spectrakit.zoo.claims import Claims
from spectrakit.zoo.journal import Told, journal_lines, read_journals

if TYPE_CHECKING:
    from spectrakit.zoo.folder import BatchFolder
    from spectrakit.zoo.job import Outcome

#: unfinished: begun, and left when its driver was interrupted.
State: TypeAlias = Literal["finished", "failed", "running", "unfinished"]


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """One entry. driver: who works on it; outcome: of what failed; record: of its run."""

    name: str
    model: str
    state: State
    attempts: int
    driver: str | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Status:
    """A batch. total: entries that were asked for last, over all shards; drivers: at work now."""

    entries: tuple[EntryStatus, ...]
    total: int
    drivers: tuple[str, ...]

    def count(self, state: State) -> int:
        """How many entries are in this state."""
        return Counter(entry.state for entry in self.entries)[state]

    @property
    def not_begun(self) -> int:
        """Entries that nobody has begun."""
        return max(0, self.total - len(self.entries))


def batch_status(folder: BatchFolder) -> Status:
    """How the batch in `folder` stands. Raises UsageError where there is none."""
    folder.require()
    told = read_journals(folder.journal)
    claims = Claims(folder.claims, 0)
    entries = tuple(_entry(folder, claims, name, told[name]) for name in sorted(told))
    began = (line for line in journal_lines(folder.journal) if line.get("event") == "began")
    totals = [line["total"] for line in began if isinstance(line.get("total"), int)]
    return Status(entries, totals[-1] if totals else 0, tuple(claims.others()))


def _entry(folder: BatchFolder, claims: Claims, name: str, told: Told) -> EntryStatus:
    driver = claims.holder(name)
    outcome = None
    state: State = "unfinished"
    if driver is not None:
        state = "running"
    elif told.failed is not None:
        state, outcome = "failed", told.failed
    elif folder.finished(name) is not None:
        state = "finished"
    return EntryStatus(name, told.model, state, told.attempts, driver, outcome)
