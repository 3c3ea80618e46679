"""Mixers that a model can be built with, by name; nothing of torch is imported until one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from spectrakit.errors import UsageError
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from spectrakit.mixers import Mixer
    from spectrakit.training.models.config import SpectrakitConfig
    from spectrakit.training.models.options import MixerOptions

#: Which sets of eigenvalues its recurrence can start with: complex ones too, real ones alone, none.
Startable: TypeAlias = Literal["complex", "real", "none"]


@dataclass(frozen=True)
class MixerBuilder:
    """How a mixer becomes a module.

    place: "package.module:Class" of a `MixerModule` that a config makes, or the class of a plugin's
    mixer, whose `build(config)` gives one. options: "package.module:Class" of its `MixerOptions`,
    or the class; None where any mapping is taken. mixer: the function that makes the mixer of a
    config without torch; None where only the module knows it. eigenvalues: see `Startable`.
    """

    name: str
    place: str | type[Any]
    options: str | type[MixerOptions] | None = None
    mixer: str | None = None
    eigenvalues: Startable = "none"

    def mixer_of(self, config: SpectrakitConfig) -> Mixer:
        """The mixer that a config makes, with its sizes. Raises UsageError where none."""
        if self.mixer is not None:
            found: Mixer = _loaded(self.mixer)(config)
            return found
        import torch

        with torch.device("meta"):
            module: Any = self.build(config)
        own: Mixer = module.mixer
        return own

    def build(self, config: SpectrakitConfig) -> nn.Module:
        """The module, with parameters that are not drawn yet: `reset_parameters` does."""
        thing = _loaded(self.place)
        make: Callable[[SpectrakitConfig], nn.Module] = getattr(thing, "build", thing)
        return make(config)

    def options_class(self) -> type[MixerOptions] | None:
        """The class of its options; None where any mapping is taken."""
        return None if self.options is None else _loaded(self.options)

    def options_of(self, given: Mapping[str, Any] | None) -> Any:  # noqa: ANN401  (its own options)
        """The options in `given`, checked. Raises pydantic's ValidationError."""
        if self.options is None:
            return dict(given or {})
        return _loaded(self.options)(**(given or {}))


def _loaded(place: str | type[Any]) -> Any:  # noqa: ANN401  (whatever is there)
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


_MODELS = "spectrakit.training.models"


def _own(name: str, module: str, stem: str, eigenvalues: Startable = "none") -> MixerBuilder:
    kind = f"{_MODELS}.kinds.{module}"
    place = f"{_MODELS}.layers.{module}:{stem}Module"
    return MixerBuilder(name, place, f"{kind}:{stem}Options", f"{kind}:mixer_of", eigenvalues)


_BUILDERS: dict[str, MixerBuilder] = {
    builder.name: builder
    for builder in (
        _own("softmax", "softmax", "Softmax"),
        _own("linear", "linear", "Linear"),
        _own("norm", "norm", "Norm"),
        _own("s4", "s4", "S4", "complex"),
        _own("s4d", "s4d", "S4D", "complex"),
        _own("dss", "dss", "DSS", "complex"),
        _own("s5", "s5", "S5", "complex"),
        _own("lru", "lru", "LRU", "complex"),
        _own("mamba", "mamba", "Mamba", "real"),
        _own("mamba2", "mamba2", "Mamba2", "real"),
        _own("dense", "dense", "Dense", "complex"),
        _own("deltanet", "delta", "DeltaNet"),
        MixerBuilder(
            "gated_deltanet",
            f"{_MODELS}.layers.delta:GatedDeltaNetModule",
            f"{_MODELS}.kinds.delta:GatedDeltaNetOptions",
            f"{_MODELS}.kinds.delta:gated_mixer_of",
            "real",
        ),
        MixerBuilder(
            "kda",
            f"{_MODELS}.layers.delta:KimiDeltaModule",
            f"{_MODELS}.kinds.delta:KimiDeltaOptions",
            f"{_MODELS}.kinds.delta:kimi_mixer_of",
            "real",
        ),
        _own("rwkv7", "rwkv7", "RWKV7", "real"),
        _own("mlstm", "mlstm", "MLSTM", "real"),
    )
}


def of_plugin(name: str, mixer: Any) -> MixerBuilder:  # noqa: ANN401  (a class of mixers)
    """How a plugin's mixer is built: by its `build(config)`.

    Its class may have `training_options`, a class of `MixerOptions`, and `startable`, which sets of
    eigenvalues it can start with.
    """
    options = getattr(mixer, "training_options", None)
    return MixerBuilder(name, mixer, options, eigenvalues=getattr(mixer, "startable", "none"))


def add(builder: MixerBuilder) -> None:
    """Take in a mixer of a plugin. Raises ValueError where the name is one of spectrakit's."""
    taken = _BUILDERS.get(builder.name)
    if taken is not None and isinstance(taken.place, str):
        raise ValueError(f"the mixer {builder.name!r} of recipes is spectrakit's own")
    _BUILDERS[builder.name] = builder


def names() -> tuple[str, ...]:
    """Every mixer that a model can be built with."""
    return tuple(_BUILDERS)


def builder(name: str) -> MixerBuilder:
    """The builder called `name`. Raises UsageError where there is none."""
    if name not in _BUILDERS:
        message = f"unknown mixer {name!r}; one of: {', '.join(_BUILDERS)}"
        raise UsageError(message, hint=did_you_mean(name, _BUILDERS))
    return _BUILDERS[name]
