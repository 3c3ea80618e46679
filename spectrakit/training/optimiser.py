"""AdamW in three groups, and its rate as a function of the step.

The parameters of a recurrence (decays, frequencies, steps) have a rate of their own and never
decay: weight decay would pull every eigenvalue towards the one at zero. Nor do biases, norms and
other vectors; matrices do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from spectrakit.training.models.mixer_module import is_recurrence

if TYPE_CHECKING:
    from spectrakit.training.recipes.schema import OptimiserRecipe

#: Names of the groups.
RECURRENCE, DECAYED, PLAIN = "recurrence", "decayed", "plain"


def parameter_groups(model: nn.Module, recipe: OptimiserRecipe) -> list[dict[str, Any]]:
    """The trained parameters of `model` in groups, each with its largest rate and its decay."""
    embeddings = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
    }
    groups: dict[str, list[nn.Parameter]] = {RECURRENCE: [], DECAYED: [], PLAIN: []}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if is_recurrence(parameter):
            groups[RECURRENCE].append(parameter)
        elif _is_vector(parameter) or id(parameter) in embeddings:
            groups[PLAIN].append(parameter)
        else:
            groups[DECAYED].append(parameter)
    own = recipe.rate if recipe.recurrence_rate is None else recipe.recurrence_rate
    rates = {RECURRENCE: own, DECAYED: recipe.rate, PLAIN: recipe.rate}
    return [
        {
            "name": name,
            "params": parameters,
            "largest": rates[name],
            "lr": rates[name],
            "weight_decay": recipe.weight_decay if name == DECAYED else 0.0,
        }
        for name, parameters in groups.items()
        if parameters
    ]


def _is_vector(parameter: nn.Parameter) -> bool:
    """Also with axes of size one around, as RWKV has them."""
    return sum(size > 1 for size in parameter.shape) < 2


def optimiser_of(model: nn.Module, recipe: OptimiserRecipe) -> torch.optim.AdamW:
    """AdamW over the groups of `model`."""
    groups = parameter_groups(model, recipe)
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=recipe.betas, eps=recipe.epsilon)


def share_of_rate(recipe: OptimiserRecipe, step: int, steps: int) -> float:
    """What the largest rates are multiplied with at `step`, counted from 0, of `steps`."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    done = (step - recipe.warmup) / max(1, steps - recipe.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_rates(optimiser: torch.optim.Optimizer, share: float) -> None:
    """Set every group's rate to `share` of its largest."""
    for group in optimiser.param_groups:
        group["lr"] = share * group["largest"]
