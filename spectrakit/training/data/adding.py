"""Adding: the sum of the two numbers of a sequence that are marked (Hochreiter & Schmidhuber 1997).

Numbers are digits 0 to 9, one of each half of the sequence is marked, and the sum, 0 to 18, is a
class: the original's real numbers, made whole so that every task has the same loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from spectrakit.training.data.base import TaskOptions, TaskShape
from spectrakit.training.data.generated import GeneratedData, GeneratedOptions


class AddingOptions(GeneratedOptions):
    """Sizes of adding."""

    length: int = Field(100, ge=2, le=1 << 20, description="Numbers of a sequence.")


@dataclass(frozen=True)
class AddingData(GeneratedData):
    """Adding with its options; see the module."""

    options: AddingOptions

    @property
    def shape(self) -> TaskShape:
        """One of 19 sums."""
        return TaskShape("classification", "tokens", 20, self.options.length, classes=19)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `GeneratedData.draw`; a marked digit is itself plus ten."""
        length = self.options.length
        digits = rng.integers(10, size=length)
        marked = np.array([rng.integers(length // 2), rng.integers(length // 2, length)])
        total = digits[marked].sum()
        digits[marked] += 10
        return digits, np.asarray(total)


class Adding:
    """The task by name."""

    name: ClassVar[str] = "adding"
    summary: ClassVar[str] = "the sum of the two marked digits of a sequence"
    options: ClassVar[type[TaskOptions]] = AddingOptions

    def open(self, options: AddingOptions, seed: int) -> AddingData:
        """See `Task.open`."""
        return AddingData(options, seed)
