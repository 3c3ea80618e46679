"""Models that the bundled trainer made (`model_type` spectrakit): any mixer in one backbone.

    model.blocks.N.mixer.ROLE             the mixer's parameters, under the names of their roles
    model.blocks.N.mixer_reverse.ROLE     of the one that reads backwards, where there is one

The mixer and its equations are those it was trained with, so nothing is named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.architectures.config_keys import ConfigKeys
from spectrakit.architectures.taps import ModuleSource, Seen, Tap
from spectrakit.architectures.transformers_family import Block, Part, TransformersArchitecture
from spectrakit.architectures.transformers_model import TransformersModel, load_transformers_model
from spectrakit.errors import MalformedError, UnsupportedError, UsageError
from spectrakit.training.models.builders import builder
from spectrakit.training.models.described import DEFAULTS, described

if TYPE_CHECKING:
    import torch

    from spectrakit.architectures.base import Configured, LayerSeen, RunnableModel, StatesSeen
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer, Observation
else:
    torch = lazy_import("torch")

_BLOCKS = "model.blocks."


def read_module(mixer: Mixer, seen: Seen) -> Observation:  # noqa: ARG001  (the module has its own)
    """From a call of the mixer's module: its equations on its input, and its own output."""
    from spectrakit.training.models.mixer_module import MixerModule

    module: Any = seen.module
    see = module.observed if isinstance(module, MixerModule) else module.observe
    observed: Observation = see(seen.arguments["hidden"])
    return replace(observed, outputs=_compared(observed, seen.output))


def _compared(observed: Observation, output: torch.Tensor) -> torch.Tensor | None:
    """The module's output, where running the recurrence gives such."""
    return observed.outputs if observed.finish is None else output


class TrainedModel(TransformersModel):
    """A running model; one of values is given ids, too."""

    @property
    def bidirectional(self) -> bool:
        """Whether tokens see what comes after them: padding has to be masked."""
        return bool(self.model.config.bidirectional)  # type: ignore[union-attr]

    @property
    def vocabulary_size(self) -> int:
        """Ids lie below it, of tokens and of levels of values."""
        return int(self.model.config.vocab_size)  # type: ignore[union-attr, arg-type]

    def run(
        self,
        tokens: torch.Tensor,
        on_layer: LayerSeen | None = None,
        valid: torch.Tensor | None = None,
        on_states: StatesSeen | None = None,
    ) -> None:
        """See `TransformersModel.run`.

        Raises UnsupportedError where `valid` has padding before a text, which a state remembers.
        """
        if valid is not None and not bool((valid[:, :-1] >= valid[:, 1:]).all()):
            message = "this model takes no padding before the text"
            raise UnsupportedError(message, hint="pad after the text, or run texts one by one")
        from spectrakit.training.models.mixer_module import keeping

        with nullcontext() if on_layer is None else keeping(self.model):
            super().run(tokens, on_layer, valid, on_states)


class TrainedHere(TransformersArchitecture):
    """`model_type` spectrakit."""

    name: ClassVar[str] = "spectrakit-trained"
    model_types: ClassVar[tuple[str, ...]] = ("spectrakit",)
    module_prefix: ClassVar[str] = _BLOCKS
    file_prefixes: ClassVar[tuple[str, ...]] = (_BLOCKS, "blocks.")
    running: ClassVar[type[TransformersModel]] = TrainedModel
    default_blocks: ClassVar[int | None] = DEFAULTS["num_hidden_layers"]

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:  # noqa: ARG002
        """All of its config: what a mixer's options may be, the mixer knows."""
        return ConfigKeys(frozenset(DEFAULTS))

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One mixer each, or two where a block reads both ways.

        Raises MalformedError where the config makes no mixer.
        """
        model = described(config.config)
        try:
            mixer = builder(model.mixer).mixer_of(model)
        except (UsageError, TypeError, ValueError) as error:
            message = f"config.json of {config.model_id}: {error}".splitlines()[0]
            raise MalformedError(message, hint=f"spectrakit inspect {config.model_id}") from error
        names = {role: role for role in mixer.shapes()}
        tap = Tap(ModuleSource(), read_module)
        paths = ("mixer", "mixer_reverse") if model.bidirectional else ("mixer",)
        return [tuple(Part(path, mixer, tap, names) for path in paths)] * self.count(config)

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The model with the head that it was trained with."""
        from spectrakit.training.models.backbone import kind_of

        parts = self._parts(checkpoint)
        config = self.config(checkpoint)
        kind = kind_of(described(config.config))
        model = load_transformers_model(checkpoint, config.config, device, dtype, kind=kind)
        return self._watched(model, parts, config)
