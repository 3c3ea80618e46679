"""What a recogniser of layers is given, a module of a file, and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from spectrakit.architectures.options import Option
    from spectrakit.checkpoints import TensorEntry, TensorSource
    from spectrakit.mixers import Mixer


@dataclass(frozen=True)
class Place:
    """A module of a file, whose parameters' names lie inside it."""

    source: TensorSource
    path: str

    def full(self, name: str) -> str:
        """The name in the file of what is `name` inside the module."""
        return f"{self.path}.{name}" if self.path else name

    def get(self, name: str) -> TensorEntry | None:
        """The tensor `name` inside the module; None where there is none."""
        return self.source.tensors.get(self.full(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the tensor `name`; empty where there is none."""
        entry = self.get(name)
        return () if entry is None else entry.shape

    def size(self, name: str, axis: int) -> int:
        """How long the tensor `name` is along `axis`; 0 where there is no such axis."""
        shape = self.shape(name)
        return shape[axis] if -len(shape) <= axis < len(shape) else 0

    def has(self, *names: str) -> bool:
        """Whether all of `names` are inside the module."""
        return all(self.get(name) is not None for name in names)

    def named(self, names: Mapping[str, str]) -> dict[str, str]:
        """The names in the file, by role, of those that are there."""
        return {role: self.full(name) for role, name in names.items() if self.has(name)}

    def option(self, option: Option, usual: object) -> tuple[object, bool]:
        """The config's value of `option` and whether it says one; `usual` where it does not."""
        if option.key in self.source.config:
            return option.value(self.source), True
        return usual, False


@dataclass(frozen=True)
class Recognised:
    """A layer: its kind, its mixer and the file's names of its parameters, and what to say of it.

    mixer: None where the layer cannot be read, for the reason `note`. inside: what part of its
    module it is, where the module holds several layers.
    """

    kind: str
    mixer: Mixer | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None
    inside: str = ""


#: Makes a layer of a module; None where the module is another kind's, or no layer at all.
Recogniser: TypeAlias = Callable[[Place], "Recognised | None"]
