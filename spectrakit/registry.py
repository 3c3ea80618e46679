"""What plugins provide, by kind and name."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Generic, TypeVar

from spectrakit.errors import UsageError
from spectrakit.wording import did_you_mean

T = TypeVar("T")


@dataclass
class PluginInfo:
    """What `plugins list` shows of one plugin."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Deferred(Generic[T]):
    """Something of spectrakit's own, by its name, that is imported when it is asked for.

    Plugins hand in the thing itself, so that what is wrong with it is found at once. place: where
    it is, as entry points say it: "package.module:Class".
    """

    name: str
    place: str

    def load(self) -> T:
        """Import the thing."""
        module, _, attribute = self.place.partition(":")
        thing: T = getattr(import_module(module), attribute)
        return thing


@dataclass(frozen=True)
class Later:
    """A function, or a class to be called, that is imported when it is first called.

    place: where it is, as entry points say it: "package.module:name".
    """

    place: str

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401  (of any function)
        """Call it."""
        module, _, attribute = self.place.partition(":")
        return getattr(import_module(module), attribute)(*arguments, **keywords)


@dataclass(frozen=True)
class Registered(Generic[T]):
    """Something a plugin provides, and which plugin that was."""

    held: T | Deferred[T]
    origin: PluginInfo

    @property
    def thing(self) -> T:
        """What was registered; imported now, where that was put off."""
        return self.held.load() if isinstance(self.held, Deferred) else self.held


@dataclass
class Registry(Generic[T]):
    """The things of one kind, by their unique names."""

    kind: str
    #: What a thing of this kind must have besides its `name`.
    requires: tuple[str, ...]
    things: dict[str, Registered[T]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> T:
        if name not in self.things:
            message = f"unknown {self.kind} {name!r}; one of: {', '.join(self.things)}"
            hint = did_you_mean(name, self.things) or "spectrakit plugins list"
            raise UsageError(message, hint=hint)
        return self.things[name].thing

    def check(self, thing: T | Deferred[T]) -> str:
        """The name of `thing`. Raises TypeError where it is not a thing of this kind."""
        if isinstance(thing, Deferred):
            return thing.name
        missing = [part for part in ("name", *self.requires) if not hasattr(thing, part)]
        if missing:
            message = f"{thing!r} is not a valid {self.kind}: it lacks {', '.join(missing)}"
            raise TypeError(message)
        name = thing.name  # type: ignore[attr-defined]
        if not isinstance(name, str) or not name:
            message = f"{thing!r} has no name a {self.kind} could go by: {name!r}"
            raise TypeError(message)
        return name

    def add(self, name: str, thing: T | Deferred[T], origin: PluginInfo) -> None:
        """Take `thing` in. Raises ValueError where its name is taken, unless it says override."""
        taken = self.things.get(name)
        if taken is not None and not getattr(thing, "override", False):
            message = (
                f"{self.kind} {name!r} of {origin.distribution} is already provided by "
                f"{taken.origin.distribution}; set override = True on it to replace that one"
            )
            raise ValueError(message)
        self.things[name] = Registered(thing, origin)
