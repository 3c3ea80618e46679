"""What tasks share whose examples are at hand: arrays of ids and their classes, by split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spectrakit.errors import UsageError
from spectrakit.training.data.collating import batch_of
from spectrakit.training.data.order import AUGMENTATION, generator

if TYPE_CHECKING:
    from spectrakit.training.data.base import Batch, Split, TaskShape


@dataclass(frozen=True)
class Examples:
    """The examples of a split: ids, each (T, ...), and classes (n,)."""

    inputs: Sequence[np.ndarray] | np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    def part(self, numbers: np.ndarray) -> Examples:
        """Those with these numbers."""
        if isinstance(self.inputs, np.ndarray):
            return Examples(self.inputs[numbers], self.classes[numbers])
        return Examples([self.inputs[number] for number in numbers], self.classes[numbers])


@dataclass(frozen=True)
class ClassifiedData:
    """A task of whole sequences in memory.

    augment: from an example's ids (T, ...) and a source of random numbers to its ids in training;
    seed: of that source.
    """

    shape: TaskShape
    splits: Mapping[Split, Examples] = field(repr=False)
    seed: int = 0
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None

    @property
    def fingerprint(self) -> str:
        """Of every id and class."""
        digest = hashlib.sha256()
        for name in sorted(self.splits):
            examples = self.splits[name]
            digest.update(f"{name} {len(examples)}".encode())
            digest.update(np.ascontiguousarray(examples.classes).data)
            for ids in examples.inputs:
                digest.update(np.ascontiguousarray(ids).data)
        return digest.hexdigest()[:16]

    def size(self, split: Split) -> int:
        """How many examples a split has."""
        return len(self.splits[split])

    def batch(self, split: Split, numbers: Sequence[int], step: int | None = None) -> Batch:
        """See `TaskData.batch`."""
        examples = self.splits[split]
        chosen = [examples.inputs[number] for number in numbers]
        if step is not None and self.augment is not None:
            chosen = [
                self.augment(ids, generator(AUGMENTATION, self.seed, step, int(number)))
                for ids, number in zip(chosen, numbers, strict=True)
            ]
        return batch_of(chosen, examples.classes[np.asarray(numbers)].astype(np.int64))


def held_out(examples: Examples, share: float, key: int) -> tuple[Examples, Examples]:
    """The rest, and a share for validation: of one permutation that no seed changes.

    Raises UsageError where there is no example for each.
    """
    if len(examples) < 2:
        message = f"{len(examples)} training example cannot be split into training and validation"
        raise UsageError(message, hint="task.path= of data with more examples")
    shuffled = generator(key).permutation(len(examples))
    count = max(1, int(share * len(examples)))
    return examples.part(np.sort(shuffled[count:])), examples.part(np.sort(shuffled[:count]))
