"""ListOps: the value of nested lists under minimum, maximum, median and sum modulo ten.

    [MAX 4 3 [MIN 2 3 ] 1 0 [MED 1 5 8 9 2 ] ]       is 5

The generator of the Long Range Arena (Tay et al. 2020, arXiv 2011.04006): a node below the greatest
depth is an operator with probability 1/4, with 2 to `max_args` arguments, and a digit otherwise;
trees whose length is not strictly between the bounds are drawn anew. A node's operator is drawn
after its arguments. Its own files keep distinct trees only; here every example is drawn by itself.

    PATH/basic_train.tsv, basic_val.tsv, basic_test.tsv      the release's files, also without
                                                             basic_, also .xz or .gz

have a line "Source TAB Target", and expressions with brackets around every pair, which are left
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data.base import Split, TaskOptions, TaskShape
from spectrakit.training.data.damage import DAMAGE
from spectrakit.training.data.generated import Count, GeneratedData, GeneratedOptions
from spectrakit.training.data.packed import first_of
from spectrakit.training.data.sequences import ClassifiedData, Examples

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
#: Digits, then operators, then the end of a list; 0 is padding.
SYMBOLS = ("<pad>", *"0123456789", *OPERATORS, "]")
_IDS = {symbol: number for number, symbol in enumerate(SYMBOLS)}
_OPERATOR_SHARE = 0.25
#: Of all draws of the published sizes a twelfth passes; beyond this many, the bounds let none pass.
_MOST_DRAWS = 100_000


class ListOpsOptions(GeneratedOptions):
    """Sizes of ListOps."""

    train: Count = Field(96_000, description="Training examples.")
    validation: Count = Field(2_000, description="Validation examples.")
    test: Count = Field(2_000, description="Test examples.")
    max_depth: int = Field(10, ge=1, le=20, description="Depth of the deepest digit.")
    max_args: int = Field(10, ge=2, le=100, description="Most arguments of an operator.")
    min_length: int = Field(500, ge=0, description="Lengths are greater than this.")
    max_length: int = Field(2000, ge=2, le=1 << 20, description="Lengths are smaller than this.")
    path: Path | None = Field(
        None, description="A folder with basic_train.tsv, basic_val.tsv and basic_test.tsv."
    )

    @model_validator(mode="after")
    def _fits(self) -> ListOpsOptions:
        drawn = self.model_fields_set - {"path"}
        if self.path is not None and drawn:
            raise ValueError(f"{sorted(drawn)[0]} is of expressions that are drawn; path has files")
        if self.min_length + 1 >= self.max_length:
            raise ValueError(f"no length lies strictly between {self.min_length} and "
                             f"{self.max_length}")  # fmt: skip
        longest = 1
        for _ in range(1, self.max_depth):
            longest = 2 + self.max_args * longest
        if longest <= self.min_length:
            raise ValueError(f"no list of depth {self.max_depth} with {self.max_args} arguments is "
                             f"longer than {self.min_length} symbols")  # fmt: skip
        return self


@dataclass(frozen=True)
class ListOpsData(GeneratedData):
    """ListOps with its options; see the module."""

    options: ListOpsOptions

    @property
    def shape(self) -> TaskShape:
        """One of ten digits."""
        longest = self.options.max_length - 1
        return TaskShape("classification", "tokens", len(SYMBOLS), longest, classes=10)

    def example(self, split: Split, number: int) -> tuple[np.ndarray, np.ndarray]:
        """One example, kept while it fits: long ones take milliseconds to draw."""
        kept = _KEPT.get(key := (self.fingerprint, split, number))
        if kept is None:
            kept = super().example(split, number)
            if len(_KEPT) < _MOST_KEPT:
                _KEPT[key] = kept
        return kept

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `GeneratedData.draw`."""
        options = self.options
        for _ in range(_MOST_DRAWS):
            symbols: list[str] = []
            value = _tree(rng, options, 1, symbols)
            if options.min_length < len(symbols) < options.max_length:
                ids = np.array([_IDS[symbol] for symbol in symbols], dtype=np.uint8)
                return ids, np.array(value)
        message = (f"none of {_MOST_DRAWS} trees is longer than {options.min_length} and shorter "
                   f"than {options.max_length} symbols")  # fmt: skip
        raise UsageError(message, hint="a smaller task.min_length, or a larger task.max_depth")


_KEPT: dict[tuple[str, str, int], tuple[np.ndarray, np.ndarray]] = {}
_MOST_KEPT = 200_000


def _tree(rng: np.random.Generator, options: ListOpsOptions, depth: int, symbols: list[str]) -> int:
    """Append a tree's symbols; its value."""
    if depth >= options.max_depth or rng.random() > _OPERATOR_SHARE:
        digit = int(rng.integers(10))
        symbols.append(str(digit))
        return digit
    place = len(symbols)
    symbols.append("")
    count = int(rng.integers(2, options.max_args + 1))
    values = []
    for _ in range(count):
        values.append(_tree(rng, options, depth + 1, symbols))
        if len(symbols) >= options.max_length:  # too long already, whatever follows
            break
    symbols[place] = OPERATORS[int(rng.integers(len(OPERATORS)))]
    symbols.append("]")
    return evaluated(symbols[place], values)


def evaluated(operator: str, values: list[int]) -> int:
    """What an operator makes of its arguments; a median of an even number is rounded towards 0."""
    if operator == "[MIN":
        return min(values)
    if operator == "[MAX":
        return max(values)
    return int(median(values)) if operator == "[MED" else sum(values) % 10


def of_files(path: Path, seed: int) -> ClassifiedData:
    """The release's files. Raises UsageError where one is missing, MalformedError in what line."""
    splits: dict[Split, Examples] = {
        "train": _of_file(path, "train"),
        "validation": _of_file(path, "val"),
        "test": _of_file(path, "test"),
    }
    longest = max(len(ids) for examples in splits.values() for ids in examples.inputs)
    shape = TaskShape("classification", "tokens", len(SYMBOLS), longest, classes=10)
    return ClassifiedData(shape, splits, seed)


def _of_file(path: Path, split: str) -> Examples:
    file, opened = first_of(path, [f"{prefix}{split}.tsv" for prefix in ("basic_", "")])
    inputs, classes = [], []
    try:
        with opened() as lines:
            for number, line in enumerate(lines, 1):
                source, _, target = line.rstrip("\r\n").partition("\t")
                if number == 1 and source == "Source":
                    continue
                ids = [_IDS.get(word) for word in source.split() if word not in ("(", ")")]
                if not ids or None in ids or target not in _IDS or not target.isdigit():
                    message = f"{file}, line {number}: wanted an expression, a tab and a digit"
                    raise MalformedError(message)
                inputs.append(np.array(ids, dtype=np.uint8))
                classes.append(int(target))
    except DAMAGE as error:
        raise MalformedError(f"{file} cannot be read: {error}".splitlines()[0]) from error
    if not inputs:
        raise MalformedError(f"{file} has no expressions")
    return Examples(inputs, np.array(classes, dtype=np.int64))


class ListOps:
    """The task by name."""

    name: ClassVar[str] = "listops"
    summary: ClassVar[str] = "the value of a nested expression (Long Range Arena)"
    options: ClassVar[type[TaskOptions]] = ListOpsOptions

    def open(self, options: ListOpsOptions, seed: int) -> ListOpsData | ClassifiedData:
        """See `Task.open`."""
        return ListOpsData(options, seed) if options.path is None else of_files(options.path, seed)
