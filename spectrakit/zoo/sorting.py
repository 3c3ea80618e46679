"""What of a batch is finished, what has failed and what is to be done: to begin, and to go on.

An entry is done when its run is there, whole, and of what is asked for now; the journal says what
failed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spectrakit.zoo.job import Limits, Outcome
from spectrakit.zoo.journal import Told, read_journals
from spectrakit.zoo.keys import key_of, plugin_as_it_was, state_of

if TYPE_CHECKING:
    from spectrakit.zoo.entries import Entry
    from spectrakit.zoo.folder import BatchFolder


@dataclass
class Sorted:
    """The entries of a batch by what is to be done with them.

    failed: with what became of them. todo: with their keys; replaced: those of them that have a run
    of other settings.
    """

    finished: list[str] = field(default_factory=list)
    failed: dict[str, Outcome] = field(default_factory=dict)
    todo: list[tuple[Entry, str]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


def sort_entries(
    folder: BatchFolder,
    entries: Sequence[Entry],
    *,
    limits: Limits | None = None,
    retry_failed: bool = False,
) -> Sorted:
    """See `Sorted`. Reads what the journals and the runs say, and no row of a table.

    limits: of those that are to be run; what ended at a lower one is run again.
    """
    told = read_journals(folder.journal)
    found = Sorted()
    threads = (limits or Limits()).threads
    for entry in entries:
        key, state = key_of(entry.spec, threads), state_of(entry.spec.model)
        known = told.get(entry.name, Told())
        same = not state or state == known.state
        if same and _is_finished(folder, entry.name, key) and not folder.is_left(entry.name):
            found.finished.append(entry.name)
        elif same and _stays_failed(known, key, limits) and not retry_failed:
            found.failed[entry.name] = known.failed or Outcome(entry.name)
        else:
            found.todo.append((entry, key))
            if folder.is_of_others(entry.name, key):
                found.replaced.append(entry.name)
    return found


def _stays_failed(told: Told, key: str, limits: Limits | None) -> bool:
    """Whether what failed would fail again: it was asked for alike, with no lower limit."""
    if told.failed is None or told.key != key:
        return False
    now = limits or Limits()
    if told.failed.failure == "time":
        return told.seconds is None or now.seconds <= told.seconds
    if told.failed.failure == "memory" and told.memory is not None:
        return now.memory is not None and now.memory <= told.memory
    return True


def _is_finished(folder: BatchFolder, name: str, key: str) -> bool:
    """Whether there is a run of what is asked for now."""
    record = folder.finished(name, key)
    return record is not None and plugin_as_it_was(record)
