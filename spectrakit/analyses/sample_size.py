"""How much text a statistic needs: below that, an analysis says so with its numbers.

These are thresholds for a remark, not for an error. Tokens of a text depend on each other, so more
than this may well be needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: The quantiles of 5 % and 95 % have ten tokens beyond them.
QUANTILE_TOKENS = 200
#: Fewer sequences have no spread: nothing says how a number would move with another text.
SEQUENCES = 2


def too_few(analysis: str, seen: int, needed: int, of: str, why: str) -> Iterator[str]:
    """A remark where fewer than `needed` were seen; of: what was counted, in the plural."""
    if seen < needed:
        yield f"{analysis}: {seen:,} of the {needed:,} {of} that {why}"


def one_sequence(analysis: str, sequences: int) -> Iterable[str]:
    """A remark where there was but one sequence."""
    why = "it takes to see how numbers differ between sequences"
    return too_few(analysis, sequences, SEQUENCES, "sequences", why)
