"""The prompts of `probe`: enough of them for its folds, and short enough for the model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.errors import UsageError
from spectrakit.plugins import plugins
from spectrakit.representations.probing import cannot_probe
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import numpy as np

    from spectrakit.analyses.base import RunsPrompts
    from spectrakit.analyses.probe.options import ProbeOptions
    from spectrakit.prompt_sets import Prompt
else:
    np = lazy_import("numpy")

#: Fewer items than this leave nothing to choose from.
_FEWEST_ITEMS = 2


def prompts_asked(options: ProbeOptions, seed: int) -> list[Prompt]:
    """The set's prompts in a random order, so that no place in a batch tells a label.

    Rounding differs with the place in a batch, and a probe might find it.

    Raises UsageError where there is no such prompt set or its prompts are too few, and what the set
    raises.
    """
    chosen = plugins().register().prompt_sets[options.prompt_set](options, seed)
    prompts = list(chosen.prompts())
    random.Random(seed).shuffle(prompts)  # noqa: S311  (no secret)
    sources = np.array([prompt.source for prompt in prompts])
    if cannot_probe(sources, sources, options.folds) is not None:
        message = (
            f"{len(prompts)} prompts of {len(np.unique(sources))} sources are too few "
            f"for {options.folds} folds"
        )
        hint = f"more {named('prompts')}, or a longer {named('prompt_file')}"
        raise UsageError(message, hint=hint)
    return prompts


def check_lengths(
    runner: RunsPrompts, prompts: Sequence[Prompt], options: ProbeOptions, seed: int
) -> None:
    """Raise UsageError where a prompt is longer than the model takes; says how many items fit."""
    items = max(prompt.items for prompt in prompts)
    runner.check_lengths(prompts, hint=lambda: _advice(runner, items, options, seed))


def _advice(runner: RunsPrompts, items: int, options: ProbeOptions, seed: int) -> str:
    """The most items below `items` whose prompts fit: counted, not estimated from one length.

    Lengths grow with the items, so the range is halved; each try is a run that could be made.
    """
    fits, too_many = _FEWEST_ITEMS - 1, items
    while too_many - fits > 1:
        tried = (fits + too_many) // 2
        if _fit(runner, replace(options, pairs=tried), seed):
            fits = tried
        else:
            too_many = tried
    if fits < _FEWEST_ITEMS:
        return "a model that takes longer sequences: even two items are too long"
    return given(pairs=fits)


def _fit(runner: RunsPrompts, options: ProbeOptions, seed: int) -> bool:
    try:
        runner.check_lengths(prompts_asked(options, seed))
    except UsageError:  # too long, or none that the set could make
        return False
    return True
