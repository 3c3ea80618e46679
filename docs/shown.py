"""Whether what a page shows is what comes out, on any processor.

Sums of float32 end otherwise where another processor, or another number of threads, adds in another
order. So outputs are compared word by word, and

    a number        may be off by one unit of its last digit shown, or by 1 %
    a whole number  below 10 or from 1000 on is exact: layers, ranks, counts; those between may be
                    rounded measures
    a word          is exact, with any number in it: ids, hashes, paths
    a bar           of a small histogram may be one step higher or lower
    blanks          between columns do not count

Anything that hangs on more than that (a probe at chance, a maximum over noise) is no example: it is
not shown on a page.
"""

from __future__ import annotations

import re
from decimal import Decimal
from difflib import unified_diff

_BARS = " ▁▂▃▄▅▆▇█"
_BARS_AT_END = re.compile(f"[{_BARS}]*[{_BARS[1:]}][{_BARS}]*$")
#: A number with what stands around it: a bracket, "1-" of what is near one, a unit, a comma.
_NUMBER = re.compile(
    r"(?P<before>[(\[]?(?:1-)?)"
    r"(?P<number>[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)"
    r"(?P<after>[kMGT]?B?%?[)\],;:]*)"
)
_RELATIVE = Decimal("0.01")
#: Whole numbers between these may be measures that were rounded; others are counted.
_ROUNDED = (10, 1000)


def differences(page: str, shown: str, now: str) -> str:
    """The lines in which `shown` and `now` differ by more than the tolerance, as a diff; or ""."""
    old, new = shown.splitlines(), now.splitlines()
    if len(old) == len(new):
        new = [a if agree(a, b) else b for a, b in zip(old, new, strict=True)]
    return "\n".join(unified_diff(old, new, page, "now", n=1, lineterm=""))


def agree(shown: str, now: str) -> bool:
    """Whether one line says what another does, within the tolerance."""
    if shown == now:
        return True
    (words, bars), (words_now, bars_now) = _taken_apart(shown), _taken_apart(now)
    return (
        len(words) == len(words_now)
        and all(map(_words_agree, words, words_now))
        and _bars_agree(bars, bars_now)
    )


def _taken_apart(line: str) -> tuple[list[str], str]:
    """The words of a line, and the bars at its end, from their first that is not blank."""
    found = _BARS_AT_END.search(line)
    if found is None:
        return line.split(), ""
    return line[: found.start()].split(), found[0]


def _words_agree(shown: str, now: str) -> bool:
    if shown == now:
        return True
    a, b = _NUMBER.fullmatch(shown), _NUMBER.fullmatch(now)
    if a is None or b is None or (a["before"], a["after"]) != (b["before"], b["after"]):
        return False
    one, other = Decimal(a["number"].replace(",", "")), Decimal(b["number"].replace(",", ""))
    whole = one == one.to_integral_value() and "e" not in a["number"] and "." not in a["number"]
    if whole and not a["after"].startswith(("%", "k", "M", "G")):
        low, high = _ROUNDED
        if not low <= abs(one) < high:
            return False
    unit = max(Decimal((0, (1,), _exponent(each))) for each in (one, other))
    return abs(one - other) <= max(unit, _RELATIVE * abs(one))


def _exponent(number: Decimal) -> int:
    """Of the last digit that is written."""
    return int(number.as_tuple().exponent)


def _bars_agree(shown: str, now: str) -> bool:
    length = max(len(shown.rstrip()), len(now.rstrip()))
    # Both end at the same column only where the numbers before them are as wide: from the left.
    one, other = (bars.strip().ljust(length) for bars in (shown, now))
    return all(abs(_BARS.index(a) - _BARS.index(b)) <= 1 for a, b in zip(one, other, strict=True))
