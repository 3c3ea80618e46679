"""What every prompt set offers: prompts of several items, one of which holds the answer.

A source is one set of items with one of them asked for. It makes a prompt for every gold position:
the same items, the one that holds the answer (gold) moved. So each source has every position once,
and whatever else tells sources apart tells nothing of the position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from spectrakit.analyses.probe.options import ProbeOptions


@dataclass(frozen=True)
class Prompt:
    """A text that ends where its answer would begin.

    source: names what it is made of; prompts of one source never stand on both sides of a fold.
    items: how many there are. position: of the gold one, from 0. labels: what a probe is to tell
    from the state at the last token, by target. answer: the continuation that is right. others:
    those of the other items; none where they have no answers of their own. No continuation is the
    beginning of another.
    """

    text: str
    source: str
    items: int
    position: int
    labels: Mapping[str, str]
    answer: str
    others: tuple[str, ...] = ()


class PromptSet(Protocol):
    """One way of asking; see `spectrakit.prompt_sets.kv_retrieval` for a whole one."""

    #: Unique name among all plugins, as `--prompt-set` takes it: "kv-retrieval".
    name: ClassVar[str]

    def __init__(self, options: ProbeOptions, seed: int) -> None:
        """Options are the user's; `seed` is of all that is drawn."""

    def prompts(self) -> Sequence[Prompt]:
        """All prompts, `options.prompts` at most: the same ones whenever it is asked.

        Raises UsageError where the options mean nothing here, MalformedError where a file is not
        what it should be.
        """


def gold_positions(items: int, most: int) -> tuple[int, ...]:
    """At most so many positions among `items`, first and last included, evenly spread.

    Rounded down, as in the files of Liu et al. 2024: 0, 4, 9, 14, 19 of 20.
    """
    count = min(items, most)
    if count == 1:
        return (0,)
    return tuple(step * (items - 1) // (count - 1) for step in range(count))


def moved(items: Sequence[str], position: int) -> list[str]:
    """`items` with the first of them at `position`."""
    gold, *rest = items
    return [*rest[:position], gold, *rest[position:]]
