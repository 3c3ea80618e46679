"""Text from outside, fit to be shown: what a terminal obeys or nobody sees is spelt out."""

from __future__ import annotations

import re
import unicodedata

#: Characters without a shape of their own that Unicode does not count as controls or formats.
_INVISIBLE = {
    0x034F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x180B,
    0x180C,
    0x180D,
    0x180F,
    0x3164,
    0xFFA0,
}
#: Controls (C0, C1), formats (bidirectional marks, zero widths, tags), surrogates, separators.
_UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LONGEST_PART = 120


def plain(text: str, keep: str = "") -> str:
    r"""`text` with every control or invisible character as `\x1b`, `\u202e` or `\U000e0001`.

    keep: those that may stay, a newline of our own say. What can be seen is left as it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character in keep or _is_shown(character) else _spelt(ord(character))
        for character in text
    )


def _is_shown(character: str) -> bool:
    code = ord(character)
    stands_for_nothing = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return not (
        stands_for_nothing or code in _INVISIBLE or unicodedata.category(character) in _UNSHOWN
    )


def _spelt(code: int) -> str:
    if code < 0x100:
        return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def path_part(text: str) -> str:
    """`text` as the name of one file or folder, never a path or a step out of it.

    What file systems take for more than a name becomes "_", and so do names of dots alone; long
    ones are cut.
    """
    name = re.sub(r'[/\\:*?"<>|]', "_", plain(text)).strip(" ")
    if not name.strip("."):
        name = "_" * max(len(name), 1)
    while len(name.encode("utf-8", "replace")) > _LONGEST_PART:
        name = name[:-1]
    return name
