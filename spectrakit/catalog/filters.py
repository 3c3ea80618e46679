"""Choosing entries: by a pattern of names and repositories, and by what is known of them."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.catalog.known import entries
from spectrakit.catalog.records import record_of
from spectrakit.errors import UsageError
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from spectrakit.catalog.entries import CatalogEntry

logger = logging.getLogger("spectrakit")


@dataclass(frozen=True)
class CatalogFilters:
    """What an entry must be; None: anything.

    family: as the catalog's files are called. max_size: the most parameters. gated: whether the Hub
    asks to accept conditions first. bundled: whether it ships with spectrakit. smallest: whether it
    is the smallest public model of its family. verified: whether a Hub was asked, and had it so.
    """

    family: str | None = None
    max_size: int | None = None
    gated: bool | None = None
    bundled: bool | None = None
    smallest: bool | None = None
    verified: bool | None = None


def matching(
    pattern: str | None = None, filters: CatalogFilters | None = None
) -> tuple[CatalogEntry, ...]:
    """The entries whose name or repository matches `pattern`, as shells do it, in any case.

    A pattern without `*`, `?` and `[` is a name or a repository. An entry whose size or gating is
    not known is left out by a filter on it, and a note says so. Raises `UsageError` for a family
    that is none.
    """
    filters = filters or CatalogFilters()
    found = [entry for entry in entries() if pattern is None or _matches(entry, pattern)]
    if filters.family is not None:
        _check_family(filters.family)
    found = _equal(found, filters)
    if filters.max_size is not None:
        most = filters.max_size
        found = _known(found, "number of parameters", _parameters, lambda n: n <= most)
    if filters.gated is not None:
        gated = filters.gated
        found = _known(found, "gating", _gated, lambda value: value == gated)
    return tuple(found)


def selected(
    patterns: Iterable[str], filters: CatalogFilters | None = None
) -> tuple[CatalogEntry, ...]:
    """The entries that match any of `patterns`, in their order, each once; all without a pattern.

    Raises `UsageError` for a pattern that no name and no repository matches.
    """
    wanted: list[str | None] = list(patterns)
    for pattern in wanted:
        if pattern is not None and not matching(pattern):
            known = (name for entry in entries() for name in (entry.name, entry.repo) if name)
            raise UsageError(
                f"no entry of the catalog matches {pattern!r}",
                hint=did_you_mean(pattern, known) or "spectrakit catalog list",
            )
    found = [entry for pattern in wanted or [None] for entry in matching(pattern, filters)]
    return tuple(dict.fromkeys(found))


def is_verified(entry: CatalogEntry) -> bool:
    """Whether it ships, or a Hub had it as it is said here when it was last asked."""
    record = record_of(entry)
    return entry.repo is None or (record is not None and not record.problems)


def _parameters(entry: CatalogEntry) -> int | None:
    """As the entry has it, or else as it was seen."""
    record = None if entry.parameters is not None else record_of(entry)
    return entry.parameters if record is None else record.parameters


def _gated(entry: CatalogEntry) -> bool | None:
    record = None if entry.gated is not None else record_of(entry)
    return entry.gated if record is None else record.gated


def _matches(entry: CatalogEntry, pattern: str) -> bool:
    names = (entry.name, entry.repo or entry.name)
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for name in names)


def _check_family(family: str) -> None:
    known = {entry.family for entry in entries()}
    if family not in known:
        raise UsageError(
            f"the catalog has no family {family!r}",
            hint=did_you_mean(family, known) or "spectrakit catalog list",
        )


def _equal(found: list[CatalogEntry], filters: CatalogFilters) -> list[CatalogEntry]:
    wanted = {
        "family": filters.family,
        "origin": {None: None, True: "bundled", False: "hub"}[filters.bundled],
        "smallest": filters.smallest,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    return [
        entry
        for entry in found
        if all(getattr(entry, name) == value for name, value in asked.items())
        and filters.verified in (None, is_verified(entry))
    ]


def _known(
    found: Iterable[CatalogEntry],
    what: str,
    value_of: Callable[[CatalogEntry], int | None],
    is_wanted: Callable[[int], bool],
) -> list[CatalogEntry]:
    kept, unknown = [], []
    for entry in found:
        value = value_of(entry)
        if value is None:
            unknown.append(entry.name)
        elif is_wanted(value):
            kept.append(entry)
    if unknown:
        shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        some = "1 entry" if len(unknown) == 1 else f"{len(unknown)} entries"
        logger.info("%s left out, whose %s is not known: %s", some, what, shown)
    return kept
