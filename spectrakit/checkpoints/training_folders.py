"""The folder of a training run, which holds the model at several steps.

training.json                     of spectrakit's trainer: which steps are kept, the newest
checkpoints/step-00000200/        the model after 200 updates
checkpoint-200/                   the same, of transformers' Trainer
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from spectrakit.errors import UsageError
from spectrakit.wording import given

_MARKER = "training.json"
_OF_SPECTRAKIT, _OF_TRANSFORMERS = re.compile(r"step-(\d{8,})"), re.compile(r"checkpoint-(\d+)")


def kept_steps(folder: Path) -> dict[int, Path]:
    """The folder of the model at each step that is kept, ascending; none of any other folder."""
    own = folder / "checkpoints"
    if (folder / _MARKER).is_file():
        return numbered(own, _OF_SPECTRAKIT)
    return numbered(folder, _OF_TRANSFORMERS)


def of_training(path: Path) -> bool:
    """Whether `path` is the folder of a run of spectrakit's trainer."""
    return (path / _MARKER).is_file()


def at_step(path: Path, step: int | None) -> Path:
    """The model of a training run after `step` updates; its newest where `step` is None.

    Raises UsageError where none is kept, and of that step, naming those that are.
    """
    steps = kept_steps(path)
    if not steps:
        message = f"{path} holds no model at any step"
        raise UsageError(message, hint="the folder of a training run, with its checkpoints")
    if step is None:
        return steps[max(steps)]
    if step not in steps:
        near = min(steps, key=lambda kept: abs(kept - step))
        kept = ", ".join(str(each) for each in _few(steps))
        message = f"{path} keeps no model of step {step}; it keeps {kept}"
        raise UsageError(message, hint=given(at=near))
    return steps[step]


def numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    """The folders in `folder` whose whole name fits `pattern`, by its number, ascending."""
    if not folder.is_dir():
        return {}
    matches = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    found = {int(match[1]): path for match, path in matches if match and path.is_dir()}
    return dict(sorted(found.items()))


def _few(steps: Mapping[int, Path]) -> list[int | str]:
    """All of them, or the first and the last."""
    every: list[int | str] = list(steps)
    return every if len(every) <= 8 else [*every[:3], "...", *every[-3:]]
