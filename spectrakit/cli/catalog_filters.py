"""Options that choose entries of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spectrakit.options import Help, option, settings

if TYPE_CHECKING:
    from spectrakit.catalog import CatalogFilters
    from spectrakit.cli.declared import Chosen

YesNo = Literal["yes", "no"]


@dataclass(frozen=True)
class Filters:
    """What an entry of the catalog must be."""

    family: str | None = option(None, "Models of one family, as `catalog show` calls it.")
    max_size: str | None = option(
        None, Help("Models of at most so many parameters: 130M, 2.8B.", metavar="SIZE")
    )
    gated: YesNo | None = option(None, "Whether the Hub asks to accept conditions first.")
    verified: YesNo | None = option(None, "Whether a Hub was asked, and had it as it is said.")
    smallest: bool = option(False, Help("The smallest public model of each family.", negated=False))


FILTERS = settings(Filters)


def catalog_filters(chosen: Chosen) -> CatalogFilters:
    """The filters that the user chose. Raises UsageError for a size that is none."""
    from spectrakit.catalog import CatalogFilters
    from spectrakit.catalog.sizes import parameters_of

    values = chosen.values
    is_yes = {None: None, "yes": True, "no": False}
    return CatalogFilters(
        family=values["family"],
        max_size=None if values["max_size"] is None else parameters_of(values["max_size"]),
        gated=is_yes[values["gated"]],
        verified=is_yes[values["verified"]],
        smallest=values["smallest"] or None,
    )
