"""Copying: repeat a sequence of symbols after a delay (Hochreiter & Schmidhuber 1997; Arjovsky et
al. 2016, arXiv 1511.06464).

    s1 ... sK  0 ... 0  go 0 ... 0                   targets: s1 ... sK from `go` on
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from spectrakit.training.data.base import IGNORED, TaskOptions, TaskShape
from spectrakit.training.data.generated import Count, GeneratedData, GeneratedOptions


class CopyingOptions(GeneratedOptions):
    """Sizes of copying."""

    symbols: int = Field(8, ge=2, le=1 << 16, description="Different symbols.")
    count: int = Field(10, ge=1, le=1 << 16, description="K, symbols to be copied.")
    delay: Count = Field(100, description="Places between the last symbol and the signal.")


@dataclass(frozen=True)
class CopyingData(GeneratedData):
    """Copying with its options; see the module."""

    options: CopyingOptions

    @property
    def shape(self) -> TaskShape:
        """Places are labelled with symbols."""
        options = self.options
        length = 2 * options.count + options.delay
        return TaskShape("labelling", "tokens", options.symbols + 2, length)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `GeneratedData.draw`; 0 is filler, 1 the signal."""
        options = self.options
        count = options.count
        symbols = 2 + rng.integers(options.symbols, size=count)
        inputs = np.zeros(2 * count + options.delay, dtype=np.int64)
        targets = np.full_like(inputs, IGNORED)
        inputs[:count], inputs[count + options.delay] = symbols, 1
        targets[count + options.delay :] = symbols
        return inputs, targets


class Copying:
    """The task by name."""

    name: ClassVar[str] = "copying"
    summary: ClassVar[str] = "a sequence of symbols, again after a delay"
    options: ClassVar[type[TaskOptions]] = CopyingOptions

    def open(self, options: CopyingOptions, seed: int) -> CopyingData:
        """See `Task.open`."""
        return CopyingData(options, seed)
