"""The loss of every task: cross-entropy where there is a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

#: What stands for no target.
IGNORED = -100


def summed_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the cross-entropy in nats, and how many targets there are.

    logits: (..., V), at least float32 in what is summed. targets: (...), IGNORED where nothing is
    asked for.
    """
    wide = logits.float() if logits.dtype.itemsize < 4 else logits
    total = functional.cross_entropy(
        wide.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total, (targets != IGNORED).sum()


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """How many targets have the highest score."""
    return ((logits.argmax(-1) == targets) & (targets != IGNORED)).sum()
