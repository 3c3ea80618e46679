"""The loop: batch, loss, gradient, snapshot, update; everything a function of the step."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spectrakit.errors import UsageError
from spectrakit.training.batches import (
    dropout_keys,
    evaluate,
    loss_of,
    targets_in,
    tensors_of,
)
from spectrakit.training.data.order import examples_of_step, spread
from spectrakit.training.optimiser import RECURRENCE, set_rates, share_of_rate

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from spectrakit.training.batches import Evaluation
    from spectrakit.training.data.base import Split, TaskData
    from spectrakit.training.recipes.schema import Recipe

#: Examples of an evaluation at once.
_EVALUATED = 64


@dataclass
class Trainer:
    """A model in training: what a step needs.

    model: as `accelerate` prepared it; own: the model itself. seconds: of earlier parts of the run.
    """

    recipe: Recipe
    data: TaskData
    own: PreTrainedModel
    model: Any
    optimiser: torch.optim.Optimizer
    accelerator: Accelerator
    steps: int
    seconds: float = 0.0
    tokens: int = 0
    _began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since training began, earlier parts included."""
        return self.seconds + time.monotonic() - self._began

    @property
    def speed(self) -> float:
        """Tokens a second, since this part began."""
        return self.tokens / max(1e-9, time.monotonic() - self._began)

    def gradient(self, step: int) -> dict[str, Any]:
        """Loss and gradient of the batch of `step`, counted from 0; the row of `training`.

        The gradient is in the parameters, and clipped. The mean is over the targets of the whole
        batch of all processes: how it is cut into micro-batches changes rounding alone.
        """
        recipe = self.recipe
        numbers = examples_of_step(recipe.seed, step, recipe.budget.batch, self.data.size("train"))
        own = self._share(numbers)
        keys = dropout_keys(recipe.seed, step, own) if recipe.model.dropout else None
        batch = self.data.batch("train", own.tolist(), step)
        targets = int(self._summed(targets_in(batch)))
        if targets == 0:
            raise UsageError(f"the batch of step {step} has no targets", hint="a larger batch")
        micro = recipe.budget.micro_batch or len(own)
        set_rates(self.optimiser, share_of_rate(recipe.optimiser, step, self.steps))
        self.optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for first in range(0, len(own), micro):
            here = slice(first, first + micro)
            part = type(batch)(batch.inputs[here], batch.targets[here], batch.lengths[here])
            tensors = tensors_of(
                part, self.accelerator.device, None if keys is None else keys[here]
            )
            last = first + micro >= len(own)
            with self.accelerator.autocast():
                total, _ = loss_of(self.model, tensors)
            # Data parallelism averages over processes what is to be summed.
            mean = total * (self.accelerator.num_processes / targets)
            if last:
                self.accelerator.backward(mean)
            else:
                with self.accelerator.no_sync(self.model):
                    self.accelerator.backward(mean)
            loss += float(total.detach())
            self.tokens += tensors.tokens * self.accelerator.num_processes
        norm = self._clipped()
        return {
            "step": step,
            "split": "train",
            "loss": float(self._summed(loss)) / targets,
            "epoch": (step + 1) * recipe.budget.batch / self.data.size("train"),
            "examples": len(numbers),
            "targets": targets,
            "rate": self._rate(recurrence=False),
            "recurrence_rate": self._rate(recurrence=True),
            "gradient_norm": norm if np.isfinite(norm) else None,
            "norm": norm,
            "seconds": self.elapsed,
        }

    def update(self) -> None:
        """Change the weights by the gradient that is in them."""
        self.optimiser.step()

    def evaluate(self, split: Split, step: int, examples: int | None = None) -> dict[str, Any]:
        """Evaluate after `step` updates; the row of `training`."""
        size = self.data.size(split)
        numbers = spread(size if examples is None else examples, size)
        with self.accelerator.autocast():
            found: Evaluation = evaluate(
                self.own, self.data, split, numbers, _EVALUATED, self.accelerator.device
            )
        return {
            "step": step,
            "split": split,
            "loss": found.loss,
            "metric": found.metric,
            "examples": found.examples,
            "targets": found.targets,
            "seconds": self.elapsed,
        }

    def _share(self, numbers: np.ndarray) -> np.ndarray:
        """This process's part of the global batch."""
        each, rest = divmod(len(numbers), self.accelerator.num_processes)
        if rest:
            message = f"a batch of {len(numbers)} over {self.accelerator.num_processes} processes"
            raise UsageError(message, hint="budget.batch is a multiple of the processes")
        first = self.accelerator.process_index * each
        return numbers[first : first + each]

    def _summed(self, value: float) -> float:
        if self.accelerator.num_processes == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)
        return float(self.accelerator.reduce(told, "sum"))

    def _clipped(self) -> float:
        """The norm of the gradient, which is then clipped."""
        largest = self.recipe.optimiser.clip
        parameters = [p for p in self.own.parameters() if p.grad is not None]
        found = torch.nn.utils.clip_grad_norm_(
            parameters, float("inf") if largest is None else largest
        )
        return float(found)

    def _rate(self, *, recurrence: bool) -> float | None:
        for group in self.optimiser.param_groups:
            if (group["name"] == RECURRENCE) == recurrence:
                return float(group["lr"])
        return None
