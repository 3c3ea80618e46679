"""Models that no library runs here, run by the equations of their own mixers.

An architecture writes down what is around its mixers, as a subclass of `WrittenOutModel`, and every
mixer's own `from_input` is the forward pass of its layer:

    def hidden_states(self, tokens, passing):
        residual = passing.stream(embedding[tokens])
        for layer in self.layers:
            residual = passing.stream(residual + passing.mixed(layer, norm(residual)))
        return norm(residual)
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.wording import given

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.architectures.base import (
        Layer,
        LayerSeen,
        MixerInput,
        MixerOutput,
        StatesSeen,
    )
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Observation
    from spectrakit.mixers.base import WrittenOutMixer
else:
    torch = lazy_import("torch")


class WrittenOutModel(ABC):
    """A model of `layers`, whose mixers are `WrittenOutMixer`, and of the `weights` around them."""

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Mapping[str, Tensor],
        initial: Initial | None = None,
    ) -> None:
        """`weights` are by their names in the file.

        initial: what each was before training, as the model's own library draws it; None where that
        is not known.
        """
        self.layers = tuple(layers)
        self.weights = weights
        self.initial = initial

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Rows of the input embedding."""

    @abstractmethod
    def hidden_states(self, tokens: Tensor, passing: ForwardPass) -> Tensor:
        """What the language head would read, (B, T, E), for token ids (B, T).

        The residual stream goes through `passing.stream` where it enters the first block and where
        it leaves each one; every layer's mixer is run by `passing.mixed`.
        """

    def is_norm(self, name: str) -> bool:
        """Whether the weight called so belongs to a norm, by the name of its module."""
        module = name.rpartition(".")[0].rpartition(".")[2]
        return "norm" in module or re.match(r"ln(\d|_)", module) is not None

    def run(
        self,
        tokens: Tensor,
        on_layer: LayerSeen | None = None,
        valid: Tensor | None = None,
        on_states: StatesSeen | None = None,
    ) -> None:
        """One forward pass over token ids (B, T); the language head is not computed.

        Raises UnsupportedError where `valid` has padding before a text: these equations know none.
        """
        if valid is not None and not bool((valid[:, :-1] >= valid[:, 1:]).all()):
            message = "this model is run by its equations, which take no padding before the text"
            raise UnsupportedError(message, hint="pad after the text, or run texts one by one")
        self._pass(tokens, ForwardPass(self, on_layer, on_states))

    def run_mixers(self, tokens: Tensor, on_input: MixerInput, on_output: MixerOutput) -> None:
        """See `DrivenModel.run_mixers`."""
        self._pass(tokens, ForwardPass(self, on_input=on_input, on_output=on_output))

    def _pass(self, tokens: Tensor, passing: ForwardPass) -> None:
        device = next(iter(self.weights.values())).device
        with torch.no_grad(), quiet_transformers():  # whose scans give advice
            self.hidden_states(tokens.to(device), passing)

    def scanned(self, layer: Layer, observation: Observation) -> Tensor:  # noqa: ARG002
        """The outputs y (B, T, H, P) of a layer's recurrence, token by token.

        A subclass may have a faster way of computing the same.
        """
        return observation.recurrence.run(observation.inputs)


class ForwardPass:
    """One pass of a model over a batch, which shows what goes by to those who asked."""

    def __init__(
        self,
        model: WrittenOutModel,
        on_layer: LayerSeen | None = None,
        on_states: StatesSeen | None = None,
        on_input: MixerInput | None = None,
        on_output: MixerOutput | None = None,
    ) -> None:
        self._model = model
        self._on_layer = on_layer
        self._on_states = on_states
        self._on_input = on_input
        self._on_output = on_output
        self._depth = 0

    def stream(self, residual: Tensor) -> Tensor:
        """The residual stream (B, T, E), to go on with: what watches it may have changed it."""
        depth, self._depth = self._depth, self._depth + 1
        if self._on_states is None:
            return residual
        changed = self._on_states(depth, residual)
        return residual if changed is None else changed

    def mixed(
        self, layer: Layer, hidden: Tensor, given: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The output (B, T, E) of a layer's mixer on its input `hidden` (B, T, E).

        given: what the mixer takes beside its parameters (another layer's values), by role.
        """
        if self._on_input is not None:
            changed = self._on_input(layer, hidden)
            hidden = hidden if changed is None else changed
        weights = self._model.weights
        p = {role: weights[name] for role, name in layer.parameters.items() if name in weights}
        mixer: WrittenOutMixer = layer.mixer  # type: ignore[assignment]
        observation = mixer.from_input(hidden, p | dict(given or {}))
        output = observation.outputs
        if output is None:
            y = self._model.scanned(layer, observation)
            if observation.finish is not None:
                y = observation.finish(y.to(observation.inputs.dtype))
            output = y.to(hidden.dtype)
            observation = replace(observation, outputs=output)
        if self._on_layer is not None:
            self._on_layer(layer, observation)
        if self._on_output is not None:
            self._on_output(layer, output)
        return output


def read_written_out(
    checkpoint: TensorSource,
    layers: Sequence[Layer],
    around: Mapping[str, tuple[int, ...]],
    device: str,
    dtype: str,
    *,
    precise: Collection[str] = (),
    unused: Sequence[str] = ("lm_head.",),
) -> dict[str, Tensor]:
    """All weights of a model, by their names in the file.

    layers: as the architecture lists them, their parameters checked. around: the shape of every
    tensor outside the mixers. precise: roles of parameters that stay in float32 at least. unused:
    prefixes of tensors that a forward pass without the language head leaves alone.

    Raises MalformedError unless the file has just the tensors of the mixers and `around`,
    UnsupportedError where a layer has no mixer and so cannot be run.
    """
    unread = [layer for layer in layers if layer.mixer is None]
    if unread:
        message = f"{checkpoint.model_id}: layer {unread[0].index}: {unread[0].reason}"
        raise UnsupportedError(message, hint=given(mode="weights"))
    local = checkpoint.localize()
    _check(local, layers, around, unused)
    narrow = getattr(torch, dtype)
    wide = torch.promote_types(narrow, torch.float32)
    dtypes = dict.fromkeys(around, narrow)
    for layer in layers:
        for role in () if layer.mixer is None else layer.mixer.shapes():
            dtypes[layer.parameters[role]] = wide if role in precise else narrow
    return {name: w.to(device, dtypes[name]) for name, w in local.read(dtypes).items()}


def _check(
    checkpoint: TensorSource,
    layers: Sequence[Layer],
    around: Mapping[str, tuple[int, ...]],
    unused: Sequence[str],
) -> None:
    present = {name for name in checkpoint.tensors if not name.startswith(tuple(unused))}
    mixers = {layer.parameters[r] for layer in layers if layer.mixer for r in layer.mixer.shapes()}
    misshapen = {
        name for name in present & around.keys() if checkpoint.tensors[name].shape != around[name]
    }
    for names, says in (
        (around.keys() - present, "the weights lack"),
        (misshapen, "the weights have another shape of"),
        (present - around.keys() - mixers, "the model has no place for"),
    ):
        if names:
            message = f"{checkpoint.model_id}: {says} {', '.join(sorted(names)[:3])}"
            raise MalformedError(message, hint="is this config.json the one of these weights?")
