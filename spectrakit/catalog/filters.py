"""Choosing entries: by a pattern of names and repositories, and by what is known of them."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.catalog.known import entries
from spectrakit.errors import UsageError
from spectrakit.wording import did_you_mean, given

if TYPE_CHECKING:
    from spectrakit.catalog.entries import CatalogEntry

logger = logging.getLogger("spectrakit")

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMBT]?)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class CatalogFilters:
    """What an entry must be; None: anything.

    family: as the catalog's files are called. max_size: the most parameters. gated: whether the Hub
    asks to accept conditions first. bundled: whether it ships with spectrakit. smallest: whether it
    is the smallest public model of its family.
    """

    family: str | None = None
    max_size: int | None = None
    gated: bool | None = None
    bundled: bool | None = None
    smallest: bool | None = None


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
        found = _known(found, "number of parameters", lambda e: e.parameters, lambda n: n <= most)
    if filters.gated is not None:
        gated = filters.gated
        found = _known(found, "gating", lambda e: e.gated, lambda value: value == gated)
    return tuple(found)


def parameters_of(size: str) -> int:
    """A size as models' names have it, `130M` or `2.8B`, in parameters. Raises `UsageError`."""
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        raise UsageError(f"{size!r} is not a number of parameters", hint=given(max_size="2.8B"))
    return round(float(match[1]) * _UNITS[match[2].upper()])


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
    return [e for e in found if all(getattr(e, name) == value for name, value in asked.items())]


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
