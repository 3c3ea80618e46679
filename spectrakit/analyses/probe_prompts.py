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

if TYPE_CHECKING:
    import numpy as np

    from spectrakit.analyses.probe_options import ProbeOptions
    from spectrakit.prompts import PromptRunner
    from spectrakit.tasks import Prompt
else:
    np = lazy_import("numpy")

#: Fewer items than this leave nothing to choose from.
_FEWEST_ITEMS = 2


def task_prompts(options: ProbeOptions, seed: int) -> list[Prompt]:
    """The task's prompts in a random order, so that no place in a batch tells a label.

    Rounding differs with the place in a batch, and a probe might find it.

    Raises UsageError where there is no such task or its prompts are too few, and what the task
    raises.
    """
    task = plugins().register().tasks[options.task](options, seed)
    prompts = list(task.prompts())
    random.Random(seed).shuffle(prompts)  # noqa: S311  (no secret)
    sources = np.array([prompt.source for prompt in prompts])
    if cannot_probe(sources, sources, options.folds) is not None:
        message = (
            f"{len(prompts)} prompts of {len(np.unique(sources))} sources are too few "
            f"for {options.folds} folds"
        )
        raise UsageError(message, hint="more --prompts, or a longer --task-file")
    return prompts


def check_lengths(
    runner: PromptRunner, prompts: Sequence[Prompt], options: ProbeOptions, seed: int
) -> None:
    """Raise UsageError where a prompt is longer than the model takes; says how many items fit."""
    items = max(prompt.items for prompt in prompts)
    runner.check_lengths(prompts, hint=lambda: _advice(runner, items, options, seed))


def _advice(runner: PromptRunner, items: int, options: ProbeOptions, seed: int) -> str:
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
    return f"--pairs {fits}"


def _fit(runner: PromptRunner, options: ProbeOptions, seed: int) -> bool:
    try:
        runner.check_lengths(task_prompts(options, seed))
    except UsageError:  # too long, or none that the task could make
        return False
    return True
