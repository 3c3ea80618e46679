"""docs/architecture.md: its table names every room, and what a room never imports is so."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from docs.refresh import ROOT
from tests.test_imports import ROOMS

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## The rooms") : PAGE.index("## The run object")]
#: The rooms of a row, and what they never import, by name: `cli`, or of another package `torch`.
ROWS = [
    [re.findall(r"`([\w./]+)`", cell) for cell in (line.split("|")[1], line.split("|")[3])]
    for line in SECTION.splitlines()
    if line.startswith("| `")
]


def _name(written):
    """`cli` of `cli/` and of `cli.py`."""
    return written.removesuffix("/").removesuffix(".py").replace("/", ".")


def _full(written):
    """The room as the imports have it; what no room is called is another package."""
    name = _name(written)
    own = "spectrakit" if name == "__init__" else f"spectrakit.{name}"
    return own if own in ROOMS else name


def test_every_room_is_in_one_row():
    named = Counter(_full(room) for rooms, _ in ROWS for room in rooms)
    assert set(named) == {room for room in ROOMS if room.partition(".")[0] == "spectrakit"}
    assert [room for room, times in named.items() if times > 1] == []


def test_a_folder_is_written_with_a_slash():
    for room in (room for rooms, _ in ROWS for room in rooms):
        path = ROOT / "spectrakit" / room
        assert path.is_dir() if room.endswith("/") else path.is_file(), room


@pytest.mark.parametrize("rooms", [rooms for rooms, _ in ROWS], ids=lambda rooms: rooms[0])
def test_what_a_room_never_imports_is_not_imported(rooms):
    (never,) = [never for own, never in ROWS if own == rooms]
    assert never
    for room in rooms:
        assert not ROOMS[_full(room)] & {_full(name) for name in never}, room


def test_what_is_never_imported_is_there_to_be():
    """A room that is renamed, or a library that nothing uses, forbids nothing."""
    imported = {name for names in ROOMS.values() for name in names} | set(ROOMS)
    assert {_full(name) for _, never in ROWS for name in never} <= imported
