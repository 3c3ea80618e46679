"""From examples by number to tensors on a device, and to the loss of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spectrakit.training import keyed
from spectrakit.training.data.base import IGNORED, Batch
from spectrakit.training.models.losses import hits, summed_loss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spectrakit.training.data.base import Split, TaskData

#: A part of keys: dropout.
DROPOUT = 4


@dataclass(frozen=True)
class Tensors:
    """A batch on the device; mask: (B, T) int64, None without padding; keys: of dropout (B,)."""

    inputs: Tensor
    targets: Tensor
    mask: Tensor | None
    keys: Tensor | None

    @property
    def tokens(self) -> int:
        """Positions, padding included."""
        return self.inputs.shape[0] * self.inputs.shape[1]


def tensors_of(batch: Batch, device: torch.device, keys: Tensor | None = None) -> Tensors:
    """A batch as tensors on `device`."""
    longest = batch.inputs.shape[1]
    mask = None
    if (batch.lengths < longest).any():
        inside = np.arange(longest) < batch.lengths[:, None]
        mask = torch.from_numpy(inside.astype(np.int64)).to(device)
    inputs, targets = (
        torch.from_numpy(np.ascontiguousarray(x)) for x in (batch.inputs, batch.targets)
    )
    return Tensors(inputs.to(device), targets.to(device), mask,
                   None if keys is None else keys.to(device))  # fmt: skip


def dropout_keys(seed: int, step: int, numbers: np.ndarray) -> Tensor:
    """Keys (B,) of the examples of a step."""
    return keyed.keys_of(keyed.key_of(seed, DROPOUT, step), torch.from_numpy(numbers))


def targets_in(batch: Batch) -> int:
    """How many targets there are."""
    return int((batch.targets != IGNORED).sum())


def loss_of(model: nn.Module, tensors: Tensors) -> tuple[Tensor, Tensor]:
    """The summed loss, and the logits."""
    # Of dropout in our own models; others know no such keys.
    keys = {} if tensors.keys is None else {"example_keys": tensors.keys}
    output: Any = model(input_ids=tensors.inputs, attention_mask=tensors.mask, **keys)
    total, _ = summed_loss(output.logits, tensors.targets)
    return total, output.logits


@dataclass(frozen=True)
class Evaluation:
    """The mean loss in nats and the metric over examples of a split."""

    loss: float
    metric: float
    examples: int
    targets: int


def evaluate(
    model: nn.Module,
    data: TaskData,
    split: Split,
    numbers: Sequence[int],
    batch: int,
    device: torch.device,
) -> Evaluation:
    """Evaluate on these examples, a batch at a time; the model is in training mode afterwards."""
    loss, right, targets = 0.0, 0, 0
    model.eval()
    try:
        with torch.no_grad():
            for part in _parts(numbers, batch):
                drawn = data.batch(split, part)
                tensors = tensors_of(drawn, device)
                total, logits = loss_of(model, tensors)
                loss += float(total)
                right += int(hits(logits, tensors.targets))
                targets += targets_in(drawn)
    finally:
        model.train()
    mean = loss / max(1, targets)
    metric = right / max(1, targets)
    if data.shape.metric == "bits_per_token":
        metric = mean / float(np.log(2))
    return Evaluation(mean, metric, len(numbers), targets)


def _parts(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]
