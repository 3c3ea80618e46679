"""Training that left the numbers: found at once, and told with what moved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spectrakit.architectures.reading import read_recurrence
from spectrakit.errors import AnalysisError, SpectrakitError
from spectrakit.model import open_checkpoint
from spectrakit.models_in_memory import from_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from spectrakit.model import Model

#: A loss so many times the best one, for so many steps, has diverged.
FACTOR, PATIENCE = 10.0, 50


class Divergence:
    """Watches the losses of a run."""

    def __init__(self) -> None:
        self.best = math.inf
        self.above = 0

    def check(self, loss: float, gradient: float) -> str | None:
        """What is wrong after a step with this loss and norm of the gradient; None if nothing."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(gradient):
            return f"the gradient's norm is {gradient}"
        self.best = min(self.best, loss)
        self.above = self.above + 1 if loss > FACTOR * max(self.best, 0.05) else 0
        if self.above >= PATIENCE:
            return f"the loss has been above {FACTOR:g} times its best for {PATIENCE} steps"
        return None


def diverged(step: int, what: str, model: PreTrainedModel, kept: Path | None) -> AnalysisError:
    """The error to raise: the step, the layer that moved most, the largest gradient, a way on.

    kept: the last checkpoint that is good; None where there is none.
    """
    message = f"training diverged at step {step}: {what}{_moved(model, kept)}{_largest(model)}"
    hint = "a lower optimiser.rate or recurrence_rate, a longer warmup, or a smaller clip"
    if kept is not None:
        hint += f"; the last good checkpoint is {kept}"
    return AnalysisError(message, hint=hint)


def _moved(model: PreTrainedModel, kept: Path | None) -> str:
    """Which layer's eigenvalues moved most since the last good checkpoint."""
    if kept is None:
        return ""
    try:
        with open_checkpoint(str(kept)) as before:
            after = from_model(model)
            changes = list(_changes(before, after))
    except SpectrakitError:
        return "; its eigenvalues cannot be read any more"
    if not changes:
        return ""
    change, layer, was, now = max(changes)
    if change == 0:
        return "; its eigenvalues have not moved since the last checkpoint"
    return (
        f"; since the last checkpoint the eigenvalues of layer {layer} moved most, "
        f"its spectral radius from {was:.6g} to {now:.6g}"
    )


def _changes(before: Model, after: Model) -> Iterator[tuple[float, int, float, float]]:
    """Root mean square change of log|lambda|, layer, and spectral radius before and after."""
    for old, new in zip(before.layers, after.layers, strict=True):
        if not old.in_weights:
            continue
        was, now = (
            read_recurrence(model.checkpoint, layer).eigenvalues()
            for model, layer in ((before, old), (after, new))
        )
        moved = (now.log_modulus - was.log_modulus).double()
        size = float(moved[moved.isfinite()].square().mean().sqrt())
        yield size, old.index, _radius(was.log_modulus), _radius(now.log_modulus)


def _radius(log_modulus: Tensor) -> float:
    return float(log_modulus.max().exp())


def _largest(model: nn.Module) -> str:
    """Which parameter has the largest gradient, or one that is no number."""
    norms = {
        name: float(parameter.grad.detach().float().norm())
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    broken = [name for name, norm in norms.items() if not math.isfinite(norm)]
    if broken:
        return f"; the gradient of {broken[0]} is no number"
    if not norms:
        return ""
    name = max(norms, key=lambda each: norms[each])
    return f"; the largest gradient is that of {name} ({norms[name]:.3g})"
