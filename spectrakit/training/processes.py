"""One run over several processes: the first alone writes, and what it finds, all know."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from spectrakit import errors
from spectrakit.errors import AnalysisError, SpectrakitError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process is the only one, or the first of those that were launched together."""
    return os.environ.get("RANK", "0") == "0"


def by_first(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """What `work` gives in the first process, in all of them; what it raises there, all raise."""
    if accelerator.num_processes == 1:
        return work()
    from accelerate.utils import broadcast_object_list

    told: list[tuple[T | None, tuple[str, str, str | None] | None]] = [(None, None)]
    raised: BaseException | None = None
    if accelerator.is_main_process:
        try:
            told = [(work(), None)]
        except SpectrakitError as error:
            raised = error
            told = [(None, (type(error).__name__, error.message, error.hint))]
        except BaseException as error:  # noqa: BLE001  (the others would wait for ever)
            raised = error
            told = [(None, (AnalysisError.__name__, f"the first process failed: {error}", None))]
    broadcast_object_list(told)
    if raised is not None:
        raise raised
    found, failure = told[0]
    if failure is not None:
        name, message, hint = failure
        raise getattr(errors, name, AnalysisError)(message, hint=hint)
    return found  # type: ignore[return-value]


def any_of(accelerator: Accelerator, here: bool) -> bool:
    """Whether it is so in any process: all have to agree on when to end."""
    if accelerator.num_processes == 1:
        return here
    import torch

    told = torch.tensor(float(here), device=accelerator.device)
    return bool(accelerator.reduce(told, "sum") > 0)
