"""Where in a TOML text a key stands."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"\s*\[+\s*([\w\-.\"' ]+?)\s*\]+\s*(#.*)?$")
_KEY = re.compile(r"\s*([\w\-.\"' ]+?)\s*=")


def line_of(text: str, location: Sequence[str]) -> int | None:
    """The line, from 1, of the key at `location`, or of the table it should be in; None for none.

    A location may go on inside the value (the number of an entry): then the line is the key's.
    """
    best: tuple[int, int] | None = None
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if (header := _HEADER.match(line)) is not None:
            table = _parts(header[1])
            path = table
        elif (key := _KEY.match(line)) is not None:
            path = table + _parts(key[1])
        else:
            continue
        if list(location[: len(path)]) == path and (best is None or len(path) > best[0]):
            best = len(path), number
    return None if best is None else best[1]


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
