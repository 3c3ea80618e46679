"""Layers before training: the random control of weights mode, and what a run says of it.

A layer starts as its kind was published (`published_initial`), or, where the model's own library
draws all of its weights and the architecture says how (`initial`), as that does. Data mode draws
the same values by the same seed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import spectrakit.architectures.published_initial_static  # noqa: F401  (registers its layers)
from spectrakit.architectures.initial_weights import Draw
from spectrakit.architectures.published_initial import Place, PublishedInitial, published_initial
from spectrakit.errors import UnsupportedError
from spectrakit.wording import given, named

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures.base import Architecture, Configured, Layer
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit.settings import Randomized

logger = logging.getLogger("spectrakit")


class Claimed(Protocol):
    """A checkpoint with the architecture that reads it; a `Model` is one."""

    @property
    def checkpoint(self) -> TensorSource:
        """Of which no tensor is read."""

    @property
    def architecture(self) -> Architecture:
        """What may know how the model's own library draws its weights."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every sequence layer."""


def initial_of(
    layer: Layer, layers: Sequence[Layer], config: Configured
) -> PublishedInitial | None:
    """How `layer`, one of `layers`, started, as published; None where that is not known.

    Raises MalformedError or UsageError where the config's options for it have no sense.
    """
    alike = [other.index for other in layers if other.kind == layer.kind]
    place = Place(config, alike.index(layer.index), len(alike))
    return published_initial(layer.mixer, place)


def drawn_by_role(
    layer: Layer, initial: PublishedInitial, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> Mapping[str, Tensor]:
    """What `initial` determines of a layer's parameters, by role; shapes: of those it has."""
    draws = {role: Draw.of(f"{layer.path}.{role}", shape, seed) for role, shape in shapes.items()}
    return initial.draw(draws)


class Untrained:
    """The layers of `model` before training, from a seed, as weights mode reads them."""

    def __init__(self, model: Claimed, seed: int) -> None:
        """Nothing is drawn yet. Raises what the architecture does where its options are wrong."""
        self._model = model
        self._seed = seed
        self._initial = _own_library(model)

    def tensors(self, layer: Layer) -> dict[str, Tensor]:
        """The layer's `weights_tensors`.

        Raises UnsupportedError where it is not known how they were initialised.
        """
        entries = self._model.checkpoint.tensors
        if self._initial is not None:
            return {
                name: self._initial(name, Draw.of(name, entries[name].shape, self._seed))
                for name in layer.weights_tensors
            }
        if not layer.weights_tensors:
            return {}
        initial = initial_of(layer, self._model.layers, config_of(self._model))
        if initial is None:
            message = f"layer {layer.index} ({layer.kind}): how it was initialised is not known"
            hint = given(mode="data") if layer.runs else f"leave {named('randomize')} out"
            raise UnsupportedError(message, hint=hint)
        present = {role: name for role, name in layer.parameters.items() if name in entries}
        shapes = {role: entries[name].shape for role, name in present.items()}
        drawn = drawn_by_role(layer, initial, shapes, self._seed)
        return {present[role]: drawn[role] for role in layer.mixer.weights_roles}  # type: ignore[union-attr]


def config_of(model: Claimed) -> Configured:
    """The config of the language model, as its architecture has it."""
    config = getattr(model.architecture, "config", None)
    found: Configured = model.checkpoint if config is None else config(model.checkpoint)
    return found


def _own_library(model: Claimed) -> Initial | None:
    initial = getattr(model.architecture, "initial", None)
    return None if initial is None else initial(model.checkpoint)


def initial_record(model: Claimed, what: Randomized) -> dict[str, dict[str, Any]]:
    """How each kind of layer that is drawn anew is drawn, for `run.json`.

    scheme: "published"; "library" where the model's own draws all of its weights; "class" where the
    model's class in transformers has the last word. Warns of layers with parameters of A of which
    only the class's own initial values are known, and says so under "warning".
    """
    if what == "mlps":
        return {}
    found: dict[str, dict[str, Any]] = {}
    library = _own_library(model) is not None
    config = config_of(model)
    for layer in model.layers:
        if layer.kind not in found:
            found[layer.kind] = _record(model, layer, config, library)
    for kind, record in found.items():
        if "warning" in record:
            logger.warning("%s: %s", kind, record["warning"])
    return found


def _record(model: Claimed, layer: Layer, config: Configured, library: bool) -> dict[str, Any]:
    if library:
        return {"scheme": "library", "source": model.architecture.initial_source}  # type: ignore[attr-defined]
    initial = None if layer.mixer is None else initial_of(layer, model.layers, config)
    if initial is not None:
        return {"scheme": "published", "draws": initial.says, "source": initial.source}
    if not layer.weights_tensors:  # none of its parameters is one of A
        return {"scheme": "class"}
    warning = (
        "how it started is not known here, so it starts as its class in transformers has it, "
        "which need not be what such models were trained from"
    )
    return {"scheme": "class", "warning": warning}
