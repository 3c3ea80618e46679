"""The device, and what `accelerate` makes ready on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from spectrakit.errors import UsageError
from spectrakit.forward import resolve_device
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator

    from spectrakit.training.recipes.schema import Recipe

#: What each tracker is installed by.
_TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}


def on_device(name: str, precision: str) -> str:
    """The device of that name. Raises UsageError where this machine has none, or none that can."""
    device = resolve_device(name)
    if precision == "float64" and device.startswith("mps"):
        raise UsageError("float64 is not there on mps", hint="device cpu, or precision float32")
    return device


@contextmanager
def accelerator_for(
    device: str, recipe: Recipe, folder: Path | None = None
) -> Iterator[Accelerator]:
    """`accelerate` on this device, in the recipe's precision; one at a time in a process.

    folder: of the run; None for one that is not recorded anywhere.

    Its trackers are not begun: they write, and the run's folder is not claimed yet. Raises
    UsageError where it, or a tracker, is not installed.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import ProjectConfiguration
    except ImportError as error:
        message = "training needs accelerate, which is not installed"
        raise UsageError(message, hint="pip install 'spectrakit[train]'") from error
    for name in recipe.trackers:
        if name not in _TRACKERS:
            message = f"unknown tracker {name!r}; one of: {', '.join(_TRACKERS)}"
            raise UsageError(message, hint=did_you_mean(name, _TRACKERS))
        if find_spec(_TRACKERS[name]) is None:
            message = f"the tracker {name} is not installed"
            raise UsageError(message, hint=f"pip install {_TRACKERS[name]}")
    mixed = "bf16" if recipe.precision == "bfloat16" else "no"
    AcceleratorState._reset_state(True)  # of an earlier run in this process
    try:
        named = [] if folder is None else list(recipe.trackers)
        place = None if folder is None else str(folder)
        accelerator = Accelerator(
            mixed_precision=mixed,
            cpu=device == "cpu",
            log_with=named or None,
            project_config=ProjectConfiguration(place, place and f"{place}/trackers"),
        )
    except ValueError as error:
        raise UsageError(f"{device}: {error}".splitlines()[0]) from error
    try:
        yield accelerator
    finally:
        accelerator.end_training()
        AcceleratorState._reset_state(True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def begin_trackers(accelerator: Accelerator, recipe: Recipe, folder: Path) -> None:
    """Begin those that the recipe names; their files go into the folder of the run."""
    if recipe.trackers:
        own = {"wandb": {"dir": str(folder)}}
        accelerator.init_trackers(folder.absolute().name, init_kwargs=own)
