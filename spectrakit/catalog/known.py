"""All entries: those that ship, then the user's own."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit.catalog.files import family_files, read_family, read_folder
from spectrakit.catalog.places import folder, own_folder
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from spectrakit.catalog.entries import CatalogEntry, Family

logger = logging.getLogger("spectrakit")


def families() -> tuple[Family, ...]:
    """The families of the catalog that ships, by name. Raises `MalformedError` if it is damaged."""
    return _shipped(folder())


def entries() -> tuple[CatalogEntry, ...]:
    """All entries: the bundled ones, those of the Hub by family, and the user's own.

    An own entry takes the place of one that ships with the same name. Where the user's folder is
    damaged, a warning names the file, and its entries are left out. Raises `MalformedError` for a
    catalog that ships damaged.
    """
    own = _own(own_folder())
    taken = {entry.name for entry in own}
    shipped = [entry for entry in _sorted(folder()) if entry.name not in taken]
    return (*shipped, *own)


def find(name_or_repo_id: str) -> CatalogEntry | None:
    """The entry of this name, or the first of this Hub repository; None without one.

    Every run asks, so that of the files that ship only those are parsed that hold the text. Raises
    `MalformedError` where one of them is damaged.
    """
    own = _own(own_folder())
    taken = {entry.name for entry in own}
    shipped = _mentioning(folder(), name_or_repo_id)
    found = [*(entry for entry in shipped if entry.name not in taken), *own]
    named = (entry for entry in found if entry.name == name_or_repo_id)
    return next(named, None) or next((e for e in found if e.repo == name_or_repo_id), None)


def forget() -> None:
    """Read the user's folder again when it is asked for next: it was written to."""
    _own.cache_clear()


def _mentioning(catalog: Path, text: str) -> Iterator[CatalogEntry]:
    for path, content in _contents(catalog):
        if text in content:
            yield from _family(path).entries


@functools.cache
def _contents(catalog: Path) -> tuple[tuple[Path, str], ...]:
    try:
        return tuple((path, path.read_text(encoding="utf-8")) for path in family_files(catalog))
    except (OSError, ValueError):
        _shipped(catalog)  # says which one, and why
        raise


@functools.cache
def _family(path: Path) -> Family:
    return read_family(path)


@functools.cache
def _shipped(catalog: Path) -> tuple[Family, ...]:
    return read_folder(catalog)


@functools.cache
def _sorted(catalog: Path) -> tuple[CatalogEntry, ...]:
    found = [entry for family in _shipped(catalog) for entry in family.entries]
    return tuple(sorted(found, key=lambda entry: entry.origin != "bundled"))


@functools.cache
def _own(own: Path) -> tuple[CatalogEntry, ...]:
    try:
        return tuple(entry for family in read_folder(own, own=True) for entry in family.entries)
    except MalformedError as error:
        logger.warning("your own catalog entries are left out: %s", error.message)
        return ()
