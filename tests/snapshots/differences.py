"""What a change of an interface means for those who rely on it: nothing, or that it breaks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.snapshots.interfaces import REQUIRED


@dataclass(frozen=True)
class Differences:
    """breaking: with which a plugin or a reader that worked no longer does. added: all others."""

    breaking: tuple[str, ...]
    added: tuple[str, ...]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Differences:
    """From one snapshot to another, section by section; their versions are not looked at."""
    breaking, added = [], []
    for section in (key for key in {**before, **now} if key != "version"):
        for line, breaks in _of_section(section, before.get(section, {}), now.get(section, {})):
            (breaking if breaks else added).append(line)
    return Differences(tuple(breaking), tuple(added))


def _of_section(
    section: str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, bool]]:
    for owner in sorted(before.keys() - now.keys()):
        yield f"{owner} is gone", True
    for owner, members in now.items():
        if owner not in before:
            yield f"{owner} is new", False
            continue
        known = before[owner]
        for member in sorted(known.keys() - members.keys()):
            yield f"{owner}.{member} is gone", True
        for member, said in members.items():
            if member not in known:
                yield f"{owner}.{member} is new: {said}", _is_missed(section, member, said, known)
            elif known[member] != said:
                yield f"{owner}.{member} was {known[member]!r} and is {said!r}", True


def _is_missed(section: str, member: str, said: str, known: Mapping[str, str]) -> bool:
    """Whether those who were there before would have to know of a new member."""
    if section == "implemented":
        return True
    if section != "provided" or not said.endswith(REQUIRED):
        return False
    function = f"{member.partition('(')[0]}()"
    return "(" not in member or function in known
