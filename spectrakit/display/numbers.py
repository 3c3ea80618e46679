"""Numbers as people read them."""

from __future__ import annotations

import math

_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_PLAIN_DIGITS = 3


def humanise(value: float) -> str:
    """Two or three significant digits: 0.031, 4.2, 37, 1.2k, 45k, 3.1M; inf is the sign for it."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if 0 < abs(value) < 0.01 or abs(value) >= 1e12:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+", "e")
    for size, suffix in _SUFFIXES:
        if abs(value) >= 0.9995 * size:
            return f"{_significant(value / size)}{suffix}"
    return _significant(value)


def near_one(value: float) -> str:
    """A modulus, that never rounds to 1 unless it is 1: 0.857, 1-2.3e-05, 1, 1+1e-07, 12.3."""
    gap = value - 1
    if 0 < abs(gap) < 5e-4:
        return f"1{'-' if gap < 0 else '+'}{abs(gap):.1e}"
    if value == 1:
        return "1"
    return f"{value:.3f}" if value < 10 else humanise(value)


def percent(share: float) -> str:
    """A share: 0, <0.1%, 6.2%, 59.6%, 100%; 100% only if nothing is missing."""
    if share == 0:
        return "0"
    if share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return "100%" if share == 1 else f"{share:.1%}"


def ranges(numbers: list[int]) -> str:
    """Sorted indices, runs shortened: 0-3, 7, 9-10."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _significant(value: float) -> str:
    digits = 2 if abs(value) < 100 else _PLAIN_DIGITS
    text = f"{value:.{digits}g}"
    return text if "e" not in text else f"{value:.0f}"


def text_read(tokens: int | None, sequences: int | None) -> str:
    """ "8,192 tokens in 16 sequences"; "" where no text was read."""
    if tokens is None or sequences is None:
        return ""
    return f"{_counted(tokens, 'token')} in {_counted(sequences, 'sequence')}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
