"""Byte language models: what byte comes next, in any text."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from spectrakit.catalog.places import folder
from spectrakit.errors import UsageError
from spectrakit.training.data.base import Batch, Split, TaskOptions, TaskShape
from spectrakit.training.data.hub import HubOptions, hub_rows

_BUNDLED = Path("tiny-shakespeare.txt")


class BytesOptions(HubOptions):
    """What text, and how it is cut. Of a data set of the Hub, the column text of `train`."""

    path: Path | None = Field(
        None, description="A text file; tiny Shakespeare, which ships with spectrakit, if left out."
    )
    length: int = Field(256, ge=1, le=1 << 20, description="Bytes of a sequence.")
    validation_share: float = Field(0.05, gt=0, lt=0.5, description="Of the text, before the test.")
    test_share: float = Field(0.05, gt=0, lt=0.5, description="Of the text, at its end.")


@dataclass(frozen=True)
class BytesData:
    """A text in windows that do not overlap; splits are contiguous."""

    options: BytesOptions
    text: np.ndarray = field(repr=False)
    fingerprint: str

    @property
    def shape(self) -> TaskShape:
        """Ids are values of bytes."""
        return TaskShape("language", "tokens", 256, self.options.length, metric="bits_per_token")

    def size(self, split: Split) -> int:
        """Windows of a split."""
        first, last = self._bounds(split)
        return (last - first - 1) // self.options.length

    def batch(self, split: Split, numbers: Sequence[int], step: int | None = None) -> Batch:  # noqa: ARG002
        """See `TaskData.batch`."""
        length = self.options.length
        starts = self._bounds(split)[0] + np.asarray(numbers, dtype=np.int64) * length
        windows = self.text[starts[:, None] + np.arange(length + 1)].astype(np.int64)
        lengths = np.full(len(starts), length, dtype=np.int64)
        return Batch(windows[:, :-1], windows[:, 1:], lengths)

    def _bounds(self, split: Split) -> tuple[int, int]:
        total = len(self.text)
        test = int(total * (1 - self.options.test_share))
        validation = test - int(total * self.options.validation_share)
        bounds = {"train": (0, validation), "validation": (validation, test), "test": (test, total)}
        return bounds[split]


def _mapped(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size == 0:
            raise UsageError(f"{path} is empty", hint="task.path=TEXT.txt")
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        message = f"the text {path} cannot be read: {error.strerror or error}"
        hint = "task.path=TEXT.txt, or leave it out for the text that ships with spectrakit"
        raise UsageError(message, hint=hint) from error


def _of_hub(options: BytesOptions) -> np.ndarray:
    """The texts of the training split, each with a line's end."""
    parts = [text if text.endswith("\n") else f"{text}\n"
             for (text,) in hub_rows(options, "train", (("text",),))]  # fmt: skip
    return np.frombuffer("".join(parts).encode(), dtype=np.uint8)


@cache
def _shipped() -> np.ndarray:
    packed = (folder() / "texts" / f"{_BUNDLED}.xz").read_bytes()
    return np.frombuffer(lzma.decompress(packed), dtype=np.uint8)


class Bytes:
    """The task by name."""

    name: ClassVar[str] = "bytes"
    summary: ClassVar[str] = "the next byte of a text; any file, or tiny Shakespeare"
    options: ClassVar[type[TaskOptions]] = BytesOptions

    def open(self, options: BytesOptions, seed: int) -> BytesData:  # noqa: ARG002
        """See `Task.open`. Raises UsageError for a text that is missing or too short."""
        path = options.path or options.hub or _BUNDLED
        if options.path is not None:
            text = _mapped(options.path)
        else:
            text = _shipped() if options.hub is None else _of_hub(options)
        digest = hashlib.sha256(text.data).hexdigest()
        told = options.model_dump_json(exclude={"path", "hub", "hub_config"})
        told = f"bytes {told} {digest}"
        data = BytesData(options, text, hashlib.sha256(told.encode()).hexdigest()[:16])
        for split in ("train", "validation", "test"):
            if data.size(split) < 1:
                message = f"{path}: its {split} part is shorter than length = {options.length}"
                raise UsageError(message, hint="a longer text, or a smaller task.length")
        return data
