"""How what was seen differs from what an entry says, and from what was seen before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spectrakit.catalog import CatalogEntry
    from spectrakit.catalog.records import Record
    from spectrakit.verification.seeing import Sight

#: Published numbers of parameters are rounded: 2.8B, and 7B for 7.3.
_ROUNDING = 0.1


def differences(entry: CatalogEntry, sight: Sight, before: Record | None) -> tuple[str, ...]:
    """Every difference, in a sentence each; none where all is as it is said.

    before: the record of an earlier look.
    """
    return tuple(_of_the_hub(entry, sight)) + tuple(_of_headers(entry, sight.record, before))


def _of_the_hub(entry: CatalogEntry, sight: Sight) -> Iterator[str]:
    seen = sight.record
    if entry.gated is not None and seen.gated not in (None, entry.gated):
        is_gated, said = ("gated", "it is not") if seen.gated else ("not gated", "it is")
        yield f"it is {is_gated}, the entry says {said}"
    licenses = (entry.license, seen.license)
    if None not in licenses and len({str(each).casefold() for each in licenses}) > 1:
        yield f"its licence is {seen.license}, the entry says {entry.license}"
    # Of a gated repository that is known to be one, no more can be seen without its conditions.
    if sight.error is not None and not (seen.gated and entry.gated):
        yield sight.error.message


def _of_headers(entry: CatalogEntry, seen: Record, before: Record | None) -> Iterator[str]:
    if seen.families and entry.family not in seen.families:
        yield f"it is read as {seen.families[0]}, the entry says {entry.family}"
    if _far(seen.parameters, entry.parameters):
        yield f"it has {seen.parameters:,} parameters, the entry says {entry.parameters:,}"
    read = (seen.weights_bytes, entry.weights_bytes)
    if None not in read and read[0] != read[1]:
        yield f"weights mode reads {read[0]:,} bytes, the entry says {read[1]:,}"
    if before is not None and before.headers and seen.headers not in (None, before.headers):
        now, then = (str(record.commit)[:12] for record in (seen, before))
        yield f"its headers are others at commit {now} than at {then}, seen {before.checked[:10]}"


def _far(seen: int | None, said: int | None) -> bool:
    return seen is not None and said is not None and abs(seen - said) > _ROUNDING * said
