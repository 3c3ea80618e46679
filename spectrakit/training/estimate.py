"""What a recipe would take, before it is run: parameters, tokens, memory, time."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from spectrakit.errors import UsageError
from spectrakit.memory_limits import available_bytes
from spectrakit.training.batches import loss_of, tensors_of
from spectrakit.training.configured import model_for, open_task, sketch_of, total_steps
from spectrakit.training.loop import Trainer
from spectrakit.training.models.mixer_module import is_recurrence
from spectrakit.training.optimiser import optimiser_of
from spectrakit.training.prepared import accelerator_for, on_device
from spectrakit.wording import per_door

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from spectrakit.training.data.base import TaskData
    from spectrakit.training.recipes.schema import Recipe

#: Steps that are timed, after one that is not.
_TIMED = 3
#: Weights, gradients, and AdamW's two moments.
_COPIES = 4


@dataclass(frozen=True)
class Estimate:
    """parameters: trained ones. tokens: positions of all steps. seconds: at the speed of the steps
    that were timed; an evaluation is not counted.
    """

    parameters: int
    recurrence_parameters: int
    steps: int
    tokens: int
    memory_bytes: int
    seconds: float
    device: str
    timed: int

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def estimate(recipe: Recipe, device: str = "auto") -> Estimate:
    """Build the model, and time a few steps of it; nothing is written.

    Raises UsageError for what `train` refuses, and where it would not fit into memory.
    """
    data = open_task(recipe)
    where = on_device(device, recipe.precision)
    check_weights(sketch_of(recipe, data.shape), where)
    steps = total_steps(recipe, data)
    with accelerator_for(where, recipe) as accelerator, torch.random.fork_rng(devices=()):
        torch.manual_seed(recipe.seed)
        model = model_for(recipe, data.shape).to(accelerator.device)
        model = model.double() if recipe.precision == "float64" else model
        optimiser = optimiser_of(model, recipe.optimiser)
        prepared, optimiser = accelerator.prepare(model, optimiser)
        trainer = Trainer(recipe, data, model, prepared, optimiser, accelerator, steps)
        model.train()
        held = _Held(model)
        with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda x: x):
            trainer.gradient(0)
        began, tokens = time.monotonic(), trainer.tokens
        for step in range(1, 1 + _TIMED):
            trainer.gradient(step)
            trainer.update()
        seconds = (time.monotonic() - began) / _TIMED
        parameters = [p for p in model.parameters() if p.requires_grad]
        memory = _of_weights(model) + held.bytes
    return Estimate(
        parameters=sum(p.numel() for p in parameters),
        recurrence_parameters=sum(p.numel() for p in parameters if is_recurrence(p)),
        steps=steps,
        tokens=steps * tokens,
        memory_bytes=memory,
        seconds=seconds * steps,
        device=where,
        timed=_TIMED,
    )


def check_weights(model: PreTrainedModel, device: str) -> None:
    """Raise UsageError where the weights in training would not fit into memory, whatever the batch.

    model: may be without numbers, see `sketch_of`.
    """
    _check(_of_weights(model), device, "a smaller model, by model.width or model.depth")


def check_memory(model: PreTrainedModel, data: TaskData, batch: int, device: torch.device) -> None:
    """Raise UsageError where training `batch` examples at once would not fit into memory.

    What one example keeps for the backward pass is measured; that of a batch is so many times it.
    """
    numbers = [0]
    held = _Held(model)
    with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda x: x):
        loss_of(model, tensors_of(data.batch("train", numbers), device))
    hint = per_door("--set budget.micro_batch=1", 'changes={"budget.micro_batch": 1}')
    needed = _of_weights(model) + batch * held.bytes
    _check(needed, str(device), f"{hint}, or a smaller model")


def _check(needed: int, device: str, hint: str) -> None:
    free = available_bytes(device)
    if free is not None and needed > free:
        message = f"training takes {needed / 1e9:.1f} GB, and {device} has {free / 1e9:.1f} GB free"
        raise UsageError(message, hint=hint)


def _of_weights(model: PreTrainedModel) -> int:
    trained = [p for p in model.parameters() if p.requires_grad]
    return _COPIES * sum(p.numel() * p.element_size() for p in trained)


class _Held:
    """Counts what a forward pass keeps for the backward, each storage once."""

    def __init__(self, model: nn.Module) -> None:
        self._seen = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is kept."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor
