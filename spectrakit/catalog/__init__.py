"""The catalog: models with a short name, those that ship with spectrakit and those on the Hub.

Its data is `catalog/models/FAMILY.toml`, one file a family; entries of the user's own, and what
`spectrakit catalog verify` saw, are in a folder of the user's.
"""

from spectrakit.catalog.entries import CatalogEntry, Family
from spectrakit.catalog.filters import CatalogFilters, matching
from spectrakit.catalog.known import entries, families, find
from spectrakit.catalog.places import folder, own_folder

__all__ = [
    "CatalogEntry",
    "CatalogFilters",
    "Family",
    "entries",
    "families",
    "find",
    "folder",
    "matching",
    "own_folder",
]
