"""Sequential digits: 8 x 8 pixels of handwritten digits, read one after the other.

The 1,797 images that scikit-learn ships (UCI's optical digits, test part): nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from spectrakit.training.data.base import Batch, Split, TaskOptions, TaskShape
from spectrakit.training.data.collating import batch_of
from spectrakit.training.data.order import generator

#: Test images, and then validation images, of one permutation that no seed changes.
_TEST, _VALIDATION = 360, 180
_SPLIT_KEY = 0xD161


class DigitsOptions(TaskOptions):
    """The digits have none: which image is in which split never changes."""


@dataclass(frozen=True)
class DigitsData:
    """Images as sequences of 64 brightnesses, 0 to 16."""

    fingerprint: str = "digits-1"

    @property
    def shape(self) -> TaskShape:
        """One of ten digits."""
        return TaskShape("classification", "values", 17, 64, classes=10)

    def size(self, split: Split) -> int:
        """How many images a split has."""
        return len(_numbers(split))

    def batch(self, split: Split, numbers: Sequence[int], step: int | None = None) -> Batch:  # noqa: ARG002
        """See `TaskData.batch`."""
        images, labels = _images()
        chosen = _numbers(split)[np.asarray(numbers)]
        return batch_of(list(images[chosen]), labels[chosen])


class Digits:
    """The task by name."""

    name: ClassVar[str] = "digits"
    summary: ClassVar[str] = "which digit an 8 x 8 image shows, read pixel by pixel"
    options: ClassVar[type[TaskOptions]] = DigitsOptions

    def open(self, options: DigitsOptions, seed: int) -> DigitsData:  # noqa: ARG002
        """See `Task.open`."""
        return DigitsData()


@cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.data.astype(np.int64), found.target.astype(np.int64)


@cache
def _numbers(split: Split) -> np.ndarray:
    shuffled = generator(_SPLIT_KEY).permutation(len(_images()[0]))
    test, validation = np.split(shuffled[: _TEST + _VALIDATION], [_TEST])
    return {"test": test, "validation": validation, "train": shuffled[_TEST + _VALIDATION :]}[split]
