"""Verifying entries of the catalog against a Hub, one after the other; none ends the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from spectrakit.catalog.records import Record, is_of, read_records, record_of
from spectrakit.checkpoints.hub_http import UnreachableError
from spectrakit.errors import NetworkError, SpectrakitError
from spectrakit.verification.differing import differences
from spectrakit.verification.seeing import Sight, ask, now, see, see_bundled
from spectrakit.verification.writing import record

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.catalog import CatalogEntry
    from spectrakit.checkpoints.access import HubAccess

#: After so many entries in a row that the Hub would not be asked about, the rest is not asked.
MOST_UNANSWERED = 3


@dataclass(frozen=True)
class Verified:
    """What came of one entry.

    status: "ok", "failed" where it is not as it was said (problems), "unanswered" where the Hub
    could not be asked (problems: why). sight: what was seen; None where nothing was.
    """

    entry: CatalogEntry
    status: Literal["ok", "failed", "unanswered"]
    problems: tuple[str, ...] = ()
    sight: Sight | None = None


def verify(
    entries: Sequence[CatalogEntry],
    access: HubAccess,
    *,
    into: Path | None,
    accept: bool = False,
) -> Iterator[Verified]:
    """Ask a Hub for each of `entries`, compare, and record what was seen, before the next is asked.

    A bundled entry is compared with its files, and not recorded. into: the catalog's folder that
    records go to; None: nowhere. accept: whether what is there now is recorded where it differs
    from the record before; that one's commit and headers are kept otherwise.

    Raises `NetworkError` in the end where the Hub answers for none of them, `MalformedError` and
    `OutputError` where records cannot be read or written.
    """
    if into is not None:
        read_records(into)  # a damaged file is told before anything is asked
    if any(entry.repo for entry in entries):
        ask(access)  # and so is an address that is none
    answered, silent, last = False, 0, None
    for entry in entries:
        if silent >= MOST_UNANSWERED and entry.repo is not None:
            yield Verified(entry, "unanswered", ("not asked: the Hub did not answer before",))
            continue
        try:
            found = _verified(entry, access, accept, into)
        except NetworkError as error:
            # One that was never reached will not be for the next either.
            gone = isinstance(error, UnreachableError) and not answered
            silent, last = MOST_UNANSWERED if gone else silent + 1, error
            found = Verified(entry, "unanswered", (error.message,))
        else:
            if entry.repo is not None:
                answered, silent = True, 0
        yield found
    if last is not None and not answered:
        raise last


def _verified(entry: CatalogEntry, access: HubAccess, accept: bool, into: Path | None) -> Verified:
    before = record_of(entry)
    if into is not None and entry.repo is not None:
        kept = read_records(into).get(entry.name)
        before = kept if kept is not None and is_of(kept, entry) else before
    try:
        sight = _seen(entry, access)
    except NetworkError:
        raise
    except SpectrakitError as error:  # there is no such repository any more
        problems: tuple[str, ...] = (error.message,)
        gone = before or Record(entry.source, ask(access).endpoint, now(), file=entry.file)
        _record(entry, replace(gone, checked=now(), problems=problems), into)
        return Verified(entry, "failed", problems)
    problems = differences(entry, sight, None if accept else before)
    seen = replace(sight.record, problems=problems)
    if problems and before is not None and before.headers is not None and not accept:
        seen = replace(before, checked=seen.checked, problems=problems)
    _record(entry, seen, into)
    return Verified(entry, "failed" if problems else "ok", problems, sight)


def _seen(entry: CatalogEntry, access: HubAccess) -> Sight:
    if entry.repo is None:
        return see_bundled(entry)
    return see(entry.repo, access, entry.file, entry.config)


def _record(entry: CatalogEntry, seen: Record, into: Path | None) -> None:
    if into is not None and entry.repo is not None:
        record(into, entry.name, seen)
