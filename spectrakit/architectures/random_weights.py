"""The random-weight control: a loaded model whose weights, or some of them, were never trained.

What a model at its initial weights shows is its architecture's; what the trained one shows besides
is training's (arXiv 2510.06640 compares the two). The values are those that training started from.
Of a model of transformers, a second one of the same config is built with the seed, what is
published of its layers takes the place of what their class starts from (`published_initial`), and
the chosen parameters are taken from there; of one written out by its equations, its architecture
says how each weight is drawn (`initial_weights`). Either way `mixers` and `mlps` have the same
values as in `all`.

    all      every parameter, embeddings and norms included
    mixers   those of the sequence layers, with all that their branch of the block holds: the
             largest module around a layer, inside its block, that adds no norm
    mlps     those of the blocks outside the mixers, norms excepted
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from spectrakit._lazy import lazy_import
from spectrakit.architectures.initial_weights import Draw
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.architectures.transformers_model import TransformersModel, quiet_transformers
from spectrakit.architectures.untrained import drawn_by_role, initial_of
from spectrakit.architectures.written_out import WrittenOutModel
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.settings import Randomized
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from spectrakit.architectures.base import Configured, Layer, RunnableModel
else:
    torch = lazy_import("torch")


def randomize(
    model: RunnableModel, layers: Sequence[Layer], what: Randomized, seed: int = 0
) -> None:
    """Put initial values in the place of trained ones, in the model itself.

    layers: all sequence layers of the model, those that cannot be read included.

    Needs the memory of a second model meanwhile. Raises UsageError where there is no such set of
    parameters, UnsupportedError where nobody says how the model's weights were initialised.
    """
    if what not in get_args(Randomized):
        message = f"unknown {named('randomize')} {what!r}"
        raise UsageError(message, hint=f"one of: {', '.join(get_args(Randomized))}")
    if isinstance(model, TransformersModel):
        _from_a_second_model(model, layers, what, seed)
    elif isinstance(model, WrittenOutModel):
        _from_its_architecture(model, layers, what, seed)
    else:
        message = f"{type(model).__name__} does not say how its weights were initialised"
        raise UnsupportedError(message, hint=f"leave {named('randomize')} out")


def _from_a_second_model(
    runnable: TransformersModel, layers: Sequence[Layer], what: Randomized, seed: int
) -> None:
    model = runnable.model
    names = set(model.state_dict())  # buffers that a checkpoint stores among them
    mixers = tuple(f"{_branch(model, layer.path)}." for layer in layers)
    norms = tuple(f"{path}." for path, module in model.named_modules() if _is_norm(module))
    chosen = _chosen(
        what,
        layers,
        names,
        mixers={name for name in names if name.startswith(mixers)},
        norms={name for name in names if name.startswith(norms)},
    )
    fresh = _fresh(model, seed).state_dict()
    if unknown := sorted(chosen - fresh.keys()):
        message = (
            f"{type(model).__name__} is not made with {unknown[0]}, so it has no initial value"
        )
        raise UnsupportedError(message, hint="merge adapters into the weights first")
    config = runnable.config or PartConfig(type(model).__name__, {})
    for layer in layers:
        fresh |= _as_published(layer, layers, config, fresh, seed)
    for name, weights in model.state_dict().items():
        if name in chosen:
            weights.copy_(fresh[name])


def _as_published(
    layer: Layer,
    layers: Sequence[Layer],
    config: Configured,
    fresh: Mapping[str, Tensor],
    seed: int,
) -> dict[str, Tensor]:
    """What is published of the layer's parameters, by their names in the model."""
    initial = initial_of(layer, layers, config)
    if initial is None:
        return {}
    inside = [name for name in fresh if name.startswith(f"{layer.path}.")]
    names = {role: _named(inside, layer, file) for role, file in layer.parameters.items()}
    there = {role: name for role, name in names.items() if name is not None}
    shapes = {role: tuple(fresh[name].shape) for role, name in there.items()}
    drawn = drawn_by_role(layer, initial, shapes, seed)
    return {there[role]: values for role, values in drawn.items()}


def _named(inside: Iterable[str], layer: Layer, file_name: str) -> str | None:
    """Which name `inside` the layer is that of a parameter; files leave modules around it out."""
    last = file_name.removeprefix(f"{layer.file_path or layer.path}.")
    return next((name for name in inside if name.endswith(f".{last}")), None)


def _from_its_architecture(
    model: WrittenOutModel, layers: Sequence[Layer], what: Randomized, seed: int
) -> None:
    initial = model.initial
    if initial is None:
        message = (
            f"{type(model).__name__} is run by its equations, which do not say how its weights "
            "were initialised"
        )
        raise UnsupportedError(message, hint=f"leave {named('randomize')} out")
    weights = model.weights
    chosen = _chosen(
        what,
        layers,
        weights,
        mixers={name for layer in layers for name in layer.tensors(weights)},
        norms={name for name in weights if model.is_norm(name)},
    )
    model.weights = {
        name: initial(name, Draw.of(name, tuple(old.shape), seed)).to(old)
        if name in chosen
        else old
        for name, old in weights.items()
    }


def _chosen(
    what: Randomized,
    layers: Sequence[Layer],
    names: Iterable[str],
    *,
    mixers: set[str],
    norms: set[str],
) -> set[str]:
    """Which of the `names` are to be new; mixers and norms: those that are of some.

    Raises UsageError where none is.
    """
    if what == "all":
        return set(names)
    blocks = tuple({re.split(r"\d+\.", layer.path, maxsplit=1)[0] for layer in layers})
    others = {name for name in names if name.startswith(blocks)} - mixers - norms
    chosen = mixers if what == "mixers" else others
    if not chosen:
        message = f"the model has no {what}: there is nothing to randomize"
        raise UsageError(message, hint=given(randomize="all"))
    return chosen


def _fresh(model: nn.Module, seed: int) -> nn.Module:
    """The same model as training would start from; leaves torch's own random state alone."""
    with torch.random.fork_rng(devices=()), quiet_transformers():
        torch.manual_seed(seed)
        try:
            fresh: nn.Module = type(model)(copy.deepcopy(model.config))
        except TypeError as error:
            message = f"{type(model).__name__} is not made from its config alone: {error}"
            raise UnsupportedError(message, hint=f"leave {named('randomize')} out") from error
    return fresh


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
