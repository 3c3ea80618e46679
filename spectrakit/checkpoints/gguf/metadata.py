"""What a GGUF file says of its model, with the keys of its architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spectrakit.checkpoints.gguf.header import Value

ARCHITECTURE = "general.architecture"
#: More blocks than any model has; what is made for each is made no oftener.
_MOST_BLOCKS = 10_000


@dataclass(frozen=True)
class Metadata:
    """The values of a file, and the shapes of its tensors by their names in it.

    file: its name. read: the numbers of a small tensor of float32.
    """

    values: Mapping[str, Value]
    shapes: Mapping[str, tuple[int, ...]]
    file: str
    read: Callable[[str], tuple[float, ...]]

    @property
    def architecture(self) -> str:
        """What llama.cpp calls the family. Raises MalformedError where it is not said."""
        name = self.values.get(ARCHITECTURE)
        if not isinstance(name, str) or not name:
            raise self.malformed(ARCHITECTURE, name)
        return name

    def given(self, key: str) -> Value | None:
        """The value of `ARCHITECTURE.key`, or None."""
        return self.values.get(f"{self.architecture}.{key}")

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number. Raises MalformedError where it is none, or missing without a default."""
        value = self.given(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.malformed(key, value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number, as it was before it was rounded to float32: 1e-05, not 9.99999974e-06."""
        value = self.given(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.malformed(key, value)
        return float(f"{value:.7g}")

    def flag(self, key: str) -> bool:
        """Whether it is set."""
        return self.given(key) is True

    def per_block(self, key: str) -> tuple[int, ...]:
        """A whole number for every block, of which the file may have one for all."""
        value = self.given(key)
        if isinstance(value, tuple):
            if len(value) < self.blocks or not all(type(n) is int and n >= 0 for n in value):
                raise self.malformed(key, value)
            return tuple(int(n) for n in value)
        return (self.count(key),) * self.blocks

    @property
    def blocks(self) -> int:
        """How many layers the model has, those that guess tokens further on left out."""
        count = self.count("block_count") - self.count("nextn_predict_layers", 0)
        if not 0 <= count <= _MOST_BLOCKS:
            raise self.malformed("block_count", count)
        return count

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding."""
        return self.shape("token_embd.weight", 2)[0]

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """The shape of a tensor. Raises MalformedError where it is missing, or has other axes."""
        shape = self.shapes.get(name)
        if shape is None or len(shape) != axes:
            what = "has no" if shape is None else f"has shape {list(shape)} of"
            message = f"{self.file}: {what} {name}, which its architecture needs"
            raise MalformedError(message, hint="convert the original model again")
        return shape

    def has(self, name: str) -> bool:
        """Whether any block, or the model, has a tensor whose name ends so."""
        return any(own == name or own.endswith(f".{name}") for own in self.shapes)

    def in_block(self, index: int, name: str) -> bool:
        """Whether that block has a tensor of this name."""
        return f"blk.{index}.{name}" in self.shapes

    def malformed(self, key: str, value: object) -> MalformedError:
        """The error for a key whose value cannot be."""
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        message = f"{self.file}: {key} is {shown}, which no model of its kind has"
        return MalformedError(message, hint="convert the original model again")
