"""Where in a TOML file a key is, which tomllib does not tell."""

from __future__ import annotations

import re
import tomllib

#: Beyond these a message does without a line: every candidate costs a parse of what is before it.
_MOST_CHARACTERS = 1 << 20
_MOST_CANDIDATES = 40


def line_of(text: str, path: tuple[str | int, ...]) -> int | None:
    """The line, from 1, in which the key `path` begins; None where that is not found out.

    text: what tomllib parses. path: keys, and indices of arrays of tables: ("models", 0).

    Among the lines that have the key's text it is the one before which the file has no such key and
    with which it has, so neither comments nor texts of several lines can pass for it.
    """
    if not path or len(text) > _MOST_CHARACTERS:
        return None
    lines = text.replace("\r\n", "\n").split("\n")
    word = next(str(key) for key in reversed(path) if isinstance(key, str))
    has_word = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
    candidates = [number for number, line in enumerate(lines) if has_word.search(line)]
    # The fifth table of an array cannot begin before the fifth line that has its name.
    first = path[-1] if isinstance(path[-1], int) else 0
    for number in candidates[first : first + _MOST_CANDIDATES]:
        before = _has(lines[:number], path)
        if before is False and _has(lines[: number + 1], path) is not False:
            return number + 1
    return None


def _has(lines: list[str], path: tuple[str | int, ...]) -> bool | None:
    """Whether the key is in these lines; None where they are cut within a value."""
    try:
        found = tomllib.loads("\n".join(lines))
    except (ValueError, RecursionError):
        return None
    for key in path:
        try:
            found = found[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return False
    return True
