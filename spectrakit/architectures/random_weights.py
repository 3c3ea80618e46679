"""The random-weight control: a loaded model whose weights, or some of them, were never trained.

What a model at its initial weights shows is its architecture's; what the trained one shows besides
is training's (arXiv 2510.06640 compares the two). The values are those that the model's own class
in transformers starts training from: a second model of the same config is built with the seed, and
the chosen parameters are taken from it. So `mixers` and `mlps` have the same values as in `all`.

    all      every parameter, embeddings and norms included
    mixers   those of the sequence layers, with all that their branch of the block holds: the
             largest module around a layer, inside its block, that adds no norm
    mlps     those of the blocks outside the mixers, norms excepted
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from spectrakit._lazy import lazy_import
from spectrakit.architectures.transformers_model import TransformersModel, quiet_transformers
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.planning import Randomized

if TYPE_CHECKING:
    import torch
    from torch import nn

    from spectrakit.architectures.base import Layer, RunnableModel
else:
    torch = lazy_import("torch")


def randomize(
    model: RunnableModel, layers: Sequence[Layer], what: Randomized, seed: int = 0
) -> None:
    """Put initial values in the place of trained ones, in the model itself.

    layers: all sequence layers of the model, those that cannot be read included.

    Needs the memory of a second model meanwhile. Raises UsageError where there is no such set of
    parameters, UnsupportedError for models that are not run by transformers: their files say
    nothing of how they were initialised.
    """
    if what not in get_args(Randomized):
        message = f"{what!r} is no set of weights to randomize"
        raise UsageError(message, hint=" or ".join(get_args(Randomized)))
    if not isinstance(model, TransformersModel):
        message = (
            f"{type(model).__name__} is run by its equations, which do not say how its weights "
            "were initialised"
        )
        raise UnsupportedError(message, hint="leave --randomize out")
    chosen = _chosen(model.model, layers, what)
    if not chosen:
        message = f"the model has no {what}: there is nothing to randomize"
        raise UsageError(message, hint="--randomize all")
    fresh = _fresh(model.model, seed).state_dict()
    for name, weights in model.model.state_dict().items():
        if name in chosen:
            weights.copy_(fresh[name])


def _fresh(model: nn.Module, seed: int) -> nn.Module:
    """The same model as training would start from; leaves torch's own random state alone."""
    with torch.random.fork_rng(devices=()), quiet_transformers():
        torch.manual_seed(seed)
        fresh: nn.Module = type(model)(copy.deepcopy(model.config))
    return fresh


def _chosen(model: nn.Module, layers: Sequence[Layer], what: Randomized) -> set[str]:
    """Names of parameters, and of buffers that a checkpoint stores."""
    names = set(model.state_dict())
    if what == "all":
        return names
    branches = tuple(f"{_branch(model, layer.path)}." for layer in layers)
    mixers = {name for name in names if name.startswith(branches)}
    if what == "mixers":
        return mixers
    blocks = tuple({re.split(r"\d+\.", layer.path, maxsplit=1)[0] for layer in layers})
    norms = tuple(f"{path}." for path, module in model.named_modules() if _is_norm(module))
    return {n for n in names - mixers if n.startswith(blocks) and not n.startswith(norms)}


def _branch(model: nn.Module, layer: str) -> str:
    """The path of the largest module around `layer`, inside its block, that adds no norm."""
    block = re.match(r".*?\d+(?=\.)", layer)
    parent = layer.rpartition(".")[0]
    if block is None or parent == block[0]:
        return layer
    inside = model.get_submodule(layer)
    own = set(inside.modules())
    around = model.get_submodule(parent)
    if any(_is_norm(module) for module in around.modules() if module not in own):
        return layer
    return _branch(model, parent)


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()
