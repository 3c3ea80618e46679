"""The rows of `leaderboard`, by what was compared, for those who show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from spectrakit.plain import plain

Row: TypeAlias = "dict[str, Any]"


_LONGEST = 40
"""Characters of a text's name."""


class Group(NamedTuple):
    """What the spectra of all runs that were compared have in common; None in weights mode."""

    mode: str
    gauge: str
    text: str | None
    seq_len: int | None


def group_of(row: Row) -> Group:
    """That of a row with a rank."""
    return Group(*(row[name] for name in Group._fields))


def by_group(rows: Iterable[Row]) -> dict[Group, list[Row]]:
    """The rows of one board that have a rank, in their order."""
    found: dict[Group, list[Row]] = {}
    for row in rows:
        if row["rank"] is not None:
            found.setdefault(group_of(row), []).append(row)
    return found


def sizes(rows: Sequence[Row]) -> Counter[Group]:
    """How many runs were compared in each group."""
    ranked = {(group_of(row), row["run"]) for row in rows if row["rank"] is not None}
    return Counter(group for group, _ in ranked)


def told(group: Group, runs: int) -> str:
    """The group in words: "data · gauge retained · my.txt (1a2b3c4d), 512 tokens · 12 runs"."""
    read = [] if group.text is None else [shortened(group.text, _LONGEST)]
    if group.seq_len is not None:
        read = [", ".join([*read, f"sequences of {group.seq_len} tokens"])]
    return " · ".join(
        [group.mode, f"gauge {group.gauge}", *read, f"{runs} run{'s' if runs > 1 else ''}"]
    )


def shortened(name: str, longest: int) -> str:
    """A name of at most so many characters: its end says more than its beginning."""
    text = plain(name)
    return text if len(text) <= longest else f"…{text[1 - longest :]}"
