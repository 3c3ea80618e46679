"""What a task is: examples by number, for training, validation and test.

Every example is a pure function of (seed, split, number), and where it is augmented, of (seed,
step, number): no sampler has a state to save, any batch can be drawn alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np

Split: TypeAlias = Literal["train", "validation", "test"]
#: What stands for no target.
IGNORED = -100


class TaskOptions(BaseModel):
    """Options of one task, as a recipe's `[task]` has them; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Batch:
    """Examples beside each other, padded at the end to the longest.

    inputs: ids, (B, T), or (B, T, C) where a position has several; int64. targets: the class of
    each sequence, (B,), or what each position is to predict, (B, T), IGNORED where nothing; int64.
    lengths: (B,) int64, tokens of each sequence without padding.
    """

    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class TaskShape:
    """What a model needs to know of its task.

    kind: "classification" of whole sequences, "labelling" of some positions (MQAR), or "language",
    every position's next token. inputs: "tokens" or "values" (see `SpectrakitConfig`). vocabulary:
    ids lie below it. classes: of the classifier; None for a language head over the vocabulary.
    channels: ids of a position. length: of the longest sequence. metric: "accuracy", or
    "bits_per_token"; `lower_is_better` of the latter.
    """

    kind: Literal["classification", "labelling", "language"]
    inputs: Literal["tokens", "values"]
    vocabulary: int
    length: int
    classes: int | None = None
    channels: int = 1
    metric: Literal["accuracy", "bits_per_token"] = "accuracy"

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is a loss."""
        return self.metric == "bits_per_token"


class TaskData(Protocol):
    """A task with its options and data at hand."""

    @property
    def shape(self) -> TaskShape:
        """What a model needs to know of it."""

    @property
    def fingerprint(self) -> str:
        """A digest of what the examples depend on: options, seed, content of files."""

    def size(self, split: Split) -> int:
        """How many examples a split has."""

    def batch(self, split: Split, numbers: Sequence[int], step: int | None = None) -> Batch:
        """The examples with these numbers, each below `size(split)`.

        step: of training, on which augmentation depends; None leaves examples as they are.
        """


class Task(Protocol):
    """A task by name; plugins register classes of this kind."""

    #: Unique among all plugins: "mqar".
    name: ClassVar[str]
    #: A sentence: what has to be learned.
    summary: ClassVar[str]
    options: ClassVar[type[TaskOptions]]

    def open(self, options: Any, seed: int) -> TaskData:  # noqa: ANN401  (its own options)
        """The task's data, of `self.options`.

        Raises UsageError where data are missing, with what to get and from where, and
        MalformedError where they are damaged.
        """
