"""The residual stream of a running model: where it enters and leaves each of its blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from spectrakit.architectures.taps import unknown_transformers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spectrakit.architectures.base import StatesSeen


@contextmanager
def stream_watched(model: nn.Module, layer_path: str, on_states: StatesSeen) -> Iterator[None]:
    """Show the residual stream at every depth while `model` runs, and put back what is changed.

    layer_path: module of any layer inside a block; blocks are the list that its first number is of.

    Raises UnsupportedError where a block takes or gives anything but hidden states (B, T, E).
    """
    blocks: Any = model.get_submodule(block_of(layer_path).rpartition(".")[0])
    with ExitStack() as stack:
        entering = blocks[0].register_forward_pre_hook(_entering(on_states), with_kwargs=True)
        stack.callback(entering.remove)
        for depth, block in enumerate(blocks, 1):
            stack.callback(block.register_forward_hook(_leaving(depth, on_states)).remove)
        yield


def block_of(layer_path: str) -> str:
    """ "model.layers.3" of "model.layers.3.self_attn": up to the first number."""
    found = re.match(r".*?\.\d+(?=\.|$)", layer_path)
    return layer_path if found is None else found[0]


def block_number(layer_path: str) -> int | None:
    """3 for "model.layers.3.self_attn": the block's place, from 0; None for a path without one."""
    number = block_of(layer_path).rpartition(".")[2]
    return int(number) if number.isdecimal() else None


def depths_of(layer_paths: Iterable[str]) -> int:
    """At how many depths there is a residual stream: a block more than the last with a layer."""
    numbers = [block_number(path) for path in layer_paths]
    return 2 + max((number for number in numbers if number is not None), default=0)


def _entering(on_states: StatesSeen) -> Callable[..., object]:
    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (_shown(0, module, args[0], on_states), *args[1:]), kwargs
        # The first block's first argument is what it works on, under this name in all of them.
        states = kwargs.get("hidden_states")
        return args, kwargs | {"hidden_states": _shown(0, module, states, on_states)}

    return hook


def _leaving(depth: int, on_states: StatesSeen) -> Callable[..., object]:
    def hook(module: nn.Module, args: object, output: Any) -> object:  # noqa: ANN401, ARG001
        if isinstance(output, tuple | list):
            return type(output)([_shown(depth, module, output[0], on_states), *output[1:]])
        return _shown(depth, module, output, on_states)

    return hook


def _shown(depth: int, block: nn.Module, states: Any, on_states: StatesSeen) -> Tensor:  # noqa: ANN401
    shape = getattr(states, "shape", ())
    if len(shape) not in (3, 4):
        raise unknown_transformers(f"{type(block).__name__} has no hidden states (B, T, E)")
    # Several streams beside each other (hyper-connections, (B, T, M, E)) are one that is M E wide.
    changed: Tensor | None = on_states(depth, states.flatten(2))
    return states if changed is None else changed.view(shape)
