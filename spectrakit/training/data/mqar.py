"""Multi-query associative recall: keys with values, then the keys again, at power-law distances.

    k1 v1 k2 v2 ... kK vK  . . k2 . k1 . . .         at the place of a key asked for: its value

The generator of zoology (Arora et al. 2023, arXiv 2312.04927), which arXiv 2405.15731 and
2510.09379 train on: K distinct keys of 1, ..., V/2 - 1, K distinct values of V/2, ..., V - 1; key j
is asked for at the even offset 2 g_j behind the pairs, the g distinct, drawn with weights
i^(a - 1). Filler is 0, or random tokens. Only places that ask for something have a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from spectrakit.training.data.base import IGNORED, Batch, Split, TaskOptions, TaskShape
from spectrakit.training.data.generated import Count, GeneratedData, GeneratedOptions


class MQAROptions(GeneratedOptions):
    """Sizes of MQAR."""

    vocabulary: Count = Field(8192, description="V: filler, keys and values.")
    length: Count = Field(512, description="Tokens of a sequence; even.")
    pairs: Count = Field(64, description="K, pairs of key and value; 4 K at most `length`.")
    power: float = Field(0.01, gt=0, le=10, description="a: near 0, most are asked for early.")
    random_filler: bool = Field(
        False, description="Whether places that ask for nothing hold random tokens, not 0."
    )
    fixed: bool = Field(
        False,
        description="Whether sets are drawn at once as the published code draws them, bit for bit.",
    )

    @model_validator(mode="after")
    def _fits(self) -> MQAROptions:
        if self.length % 2:
            raise ValueError(f"length = {self.length} is odd; pairs take two places each")
        if 4 * self.pairs > self.length:
            raise ValueError(f"{self.pairs} pairs and their questions take {4 * self.pairs} "
                             f"places, and length = {self.length}")  # fmt: skip
        if self.vocabulary <= 2 * self.pairs + 1 or self.vocabulary % 2:
            raise ValueError(f"vocabulary = {self.vocabulary} must be even and hold {self.pairs} "
                             "keys and as many values beside the filler")  # fmt: skip
        if self.fixed and self.random_filler:
            raise ValueError("of fixed sets the filler is 0: random_filler = false")
        return self


@dataclass(frozen=True)
class MQARData(GeneratedData):
    """MQAR with its options; see the module."""

    options: MQAROptions

    @property
    def shape(self) -> TaskShape:
        """Places are labelled with tokens."""
        return TaskShape("labelling", "tokens", self.options.vocabulary, self.options.length)

    @cached_property
    def _weights(self) -> np.ndarray:
        return _weights(self.options.length, self.options.pairs, self.options.power)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `GeneratedData.draw`."""
        options = self.options
        half, pairs = options.vocabulary // 2, options.pairs
        keys = 1 + rng.choice(half - 1, pairs, replace=False, shuffle=True)
        values = half + rng.choice(half, pairs, replace=False, shuffle=True)
        gaps = rng.choice(len(self._weights), pairs, replace=False, p=self._weights)
        inputs, targets = _laid_out(keys, values, gaps, options.length)
        if options.random_filler:
            filler = inputs == 0
            inputs[filler] = rng.integers(options.vocabulary, size=int(filler.sum()))
        return inputs, targets

    def batch(self, split: Split, numbers: Sequence[int], step: int | None = None) -> Batch:
        """See `TaskData.batch`; of fixed sets, their rows."""
        if not self.options.fixed:
            return super().batch(split, numbers, step)
        inputs, targets = fixed_set(self.options, self.size(split), self._set_seed(split))
        chosen = np.asarray(numbers)
        lengths = np.full(len(chosen), inputs.shape[1], dtype=np.int64)
        return Batch(inputs[chosen].astype(np.int64), targets[chosen].astype(np.int64), lengths)

    def _set_seed(self, split: Split) -> int:
        """As the published loader: training seeds below 2^31, those of tests from there on."""
        source = np.random.RandomState(self.seed % (1 << 32))
        train = source.randint(0, 1 << 31)
        test, validation = source.randint(1 << 31, 1 << 32, size=2, dtype=np.int64)
        return int({"train": train, "validation": validation, "test": test}[split])


@lru_cache(maxsize=4)
def fixed_set(options: MQAROptions, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (size, L) int32 as zoology's `multiquery_ar` draws them with this seed.

    All keys are drawn first, then all values, then all gaps, by NumPy's legacy generator.
    """
    source = np.random.RandomState(seed)
    half, pairs = options.vocabulary // 2, options.pairs
    weights = _weights(options.length, pairs, options.power)

    def rows(pool: np.ndarray, p: np.ndarray | None = None) -> np.ndarray:
        return np.stack([source.choice(pool, pairs, replace=False, p=p) for _ in range(size)])

    keys, values = rows(np.arange(1, half)), rows(np.arange(half, options.vocabulary))
    gaps = rows(np.arange(len(weights)), weights)
    # Filled row by row: 100,000 rows of 512 as a list of int64, and then stacked, take 1.6 GB.
    inputs, targets = np.empty((2, size, options.length), dtype=np.int32)
    for row, drawn in enumerate(zip(keys, values, gaps, strict=True)):
        inputs[row], targets[row] = _laid_out(*drawn, options.length)
    return inputs, targets


def _weights(length: int, pairs: int, power: float) -> np.ndarray:
    """How likely each gap is."""
    places = np.arange(1, (length - 2 * pairs) // 2 + 1)
    weights = power * places ** (power - 1)
    normalised: np.ndarray = weights / weights.sum()
    return normalised


def _laid_out(
    keys: np.ndarray, values: np.ndarray, gaps: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    inputs = np.zeros(length, dtype=np.int64)
    inputs[0 : 2 * len(keys) : 2], inputs[1 : 2 * len(keys) : 2] = keys, values
    asked = 2 * len(keys) + 2 * gaps
    inputs[asked] = keys
    targets = np.full(length, IGNORED, dtype=np.int64)
    targets[asked] = values
    return inputs, targets


class MQAR:
    """The task by name."""

    name: ClassVar[str] = "mqar"
    summary: ClassVar[str] = "the value that was stored with each key (associative recall)"
    options: ClassVar[type[TaskOptions]] = MQAROptions

    def open(self, options: MQAROptions, seed: int) -> MQARData:
        """See `Task.open`."""
        return MQARData(options, seed)
