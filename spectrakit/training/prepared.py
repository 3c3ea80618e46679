"""The device, and what `accelerate` makes ready on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from spectrakit.errors import UsageError
from spectrakit.forward import resolve_device

if TYPE_CHECKING:
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
def accelerator_for(device: str, recipe: Recipe) -> Iterator[Accelerator]:
    """`accelerate` on this device, in the recipe's precision; one at a time in a process.

    Raises UsageError where it, or a tracker, is not installed.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError as error:
        message = "training needs accelerate, which is not installed"
        raise UsageError(message, hint="pip install 'spectrakit[train]'") from error
    unknown = [name for name in recipe.trackers if name not in _TRACKERS]
    if unknown:
        message = f"unknown tracker {unknown[0]!r}; one of: {', '.join(_TRACKERS)}"
        raise UsageError(message)
    mixed = "bf16" if recipe.precision == "bfloat16" else "no"
    AcceleratorState._reset_state(True)  # of an earlier run in this process
    try:
        accelerator = Accelerator(
            mixed_precision=mixed,
            cpu=device == "cpu",
            log_with=list(recipe.trackers) or None,
        )
        if recipe.trackers:
            accelerator.init_trackers("spectrakit")
    except (ImportError, ValueError) as error:
        message = f"{', '.join(recipe.trackers) or device}: {error}".splitlines()[0]
        raise UsageError(message, hint=f"pip install {' '.join(recipe.trackers)}") from error
    try:
        yield accelerator
    finally:
        accelerator.end_training()
        AcceleratorState._reset_state(True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
