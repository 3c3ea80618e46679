"""Which layers of a running transformers model are at work, and what was recorded of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spectrakit.architectures.taps import Call, Seen, forward_arguments, unknown_transformers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spectrakit.architectures.base import Layer, LayerSeen
    from spectrakit.architectures.taps import Tap
    from spectrakit.mixers import Observation


class LayerWatch:
    """Which layers are running, and which have been seen, during one forward pass."""

    def __init__(self, on_layer: LayerSeen | None, valid: Tensor | None) -> None:
        self.on_layer = on_layer
        self.valid = valid
        self.seen: set[int] = set()
        #: What was recorded for each of the layers that are running, outermost first.
        self._running: list[list[Call]] = []

    def record(self, call: Call) -> None:
        """Give `call` to the layer that is running."""
        if self._running:
            self._running[-1].append(call)

    def enter(self, *_: object) -> None:
        """A layer begins."""
        self._running.append([])

    def leave(self, layer: Layer, tap: Tap) -> Callable[..., None]:
        """What is to be called when `layer` has finished."""

        def hook(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object
        ) -> None:
            calls = self._running.pop()
            if self.on_layer is None or layer.mixer is None or not calls:
                return
            self.seen.add(layer.index)
            seen = Seen(module, forward_arguments(module, args, kwargs), output, calls)
            try:
                observation = tap.read(layer.mixer, seen)
            except KeyError as error:
                message = f"{tap.source.description} have no argument {error}"
                raise unknown_transformers(message) from error
            self.on_layer(layer, _after_padding(observation, self.valid))

        return hook


def _after_padding(observation: Observation, valid: Tensor | None) -> Observation:
    """Let the first token after padding be a start too, in layers that have starts."""
    starts = observation.recurrence.starts
    if valid is None or starts is None:
        return observation
    first = valid.bool().clone()
    first[:, 1:] &= ~valid[:, :-1].bool()
    recurrence = replace(observation.recurrence, starts=starts | first)
    return replace(observation, recurrence=recurrence)
