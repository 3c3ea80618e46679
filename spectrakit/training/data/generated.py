"""What tasks share whose examples are drawn, each from a generator of its own."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from spectrakit.training.data.base import Batch, Split, TaskOptions, TaskShape
from spectrakit.training.data.collating import batch_of
from spectrakit.training.data.order import example_generator

if TYPE_CHECKING:
    import numpy as np

Count = Annotated[int, Field(ge=1, le=1 << 31)]


class GeneratedOptions(TaskOptions):
    """How many examples a split has."""

    train: Count = Field(100_000, description="Training examples.")
    validation: Count = Field(1_000, description="Validation examples.")
    test: Count = Field(3_000, description="Test examples.")


@dataclass(frozen=True)
class GeneratedData(ABC):
    """A task whose example `number` of a split is drawn by `draw`."""

    options: GeneratedOptions
    seed: int

    @property
    @abstractmethod
    def shape(self) -> TaskShape:
        """What a model needs to know of it."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Ids (T,) and targets: a class (), or one for each position (T,)."""

    @property
    def fingerprint(self) -> str:
        """Of the task's name, its options and the seed."""
        told = f"{type(self).__name__} {self.options.model_dump_json()} {self.seed}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def size(self, split: Split) -> int:
        """How many examples a split has."""
        size: int = getattr(self.options, split)
        return size

    def example(self, split: Split, number: int) -> tuple[np.ndarray, np.ndarray]:
        """One example."""
        return self.draw(example_generator(self.seed, split, number))

    def batch(self, split: Split, numbers: Sequence[int], step: int | None = None) -> Batch:  # noqa: ARG002
        """See `TaskData.batch`."""
        drawn = [self.example(split, int(number)) for number in numbers]
        return batch_of([ids for ids, _ in drawn], [targets for _, targets in drawn])
