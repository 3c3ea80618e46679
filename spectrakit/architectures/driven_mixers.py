"""The mixers of a running model, alone: what each is handed, and what it makes of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from spectrakit.architectures.taps import unknown_transformers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spectrakit.architectures.base import Layer, MixerInput, MixerOutput


@contextmanager
def mixers_watched(
    model: nn.Module, layers: Sequence[Layer], on_input: MixerInput, on_output: MixerOutput
) -> Iterator[None]:
    """Show every layer's module what `on_input` gives while `model` runs, and what it makes of it.

    Raises UnsupportedError where a module takes or gives anything but vectors (B, T, E).
    """
    with ExitStack() as stack:
        for layer in layers:
            module = model.get_submodule(layer.path)
            entering = _entering(layer, module, on_input)
            handle = module.register_forward_pre_hook(entering, with_kwargs=True)
            stack.callback(handle.remove)
            stack.callback(module.register_forward_hook(_leaving(layer, on_output)).remove)
        yield


def _entering(layer: Layer, module: nn.Module, on_input: MixerInput) -> Callable[..., object]:
    # The vectors come first in every mixer of transformers, by place or under their name.
    name = next(iter(inspect.signature(module.forward).parameters))

    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden = _vectors(module, args[0] if args else kwargs.get(name), "takes")
        changed = on_input(layer, hidden)
        hidden = hidden if changed is None else changed
        return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {name: hidden})

    return hook


def _leaving(layer: Layer, on_output: MixerOutput) -> Callable[..., None]:
    def hook(module: nn.Module, args: object, output: Any) -> None:  # noqa: ANN401, ARG001
        output = output[0] if isinstance(output, tuple | list) else output
        on_output(layer, _vectors(module, output, "gives"))

    return hook


def _vectors(module: nn.Module, found: Any, does: str) -> Tensor:  # noqa: ANN401
    if len(getattr(found, "shape", ())) != 3:
        raise unknown_transformers(f"{type(module).__name__} {does} no vectors (B, T, E)")
    vectors: Tensor = found
    return vectors
