"""Byte-level sentiment: whether a film review is for or against, read byte by byte.

    PATH/train/pos/*.txt, train/neg, test/pos, test/neg       aclImdb (Maas et al. 2011)
    PATH/imdb_train.jsonl, imdb_test.jsonl, also .xz or .gz    lines {"label": 0 or 1, "text": ...}
    HUB, such as stanfordnlp/imdb                              columns text and label

Ids are bytes plus one, 0 is padding, as in the Long Range Arena (arXiv 2011.04006); longer reviews
are cut off.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
from pydantic import Field

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data.base import Split, TaskOptions, TaskShape
from spectrakit.training.data.damage import DAMAGE
from spectrakit.training.data.hub import HubOptions, hub_rows
from spectrakit.training.data.packed import first_of
from spectrakit.training.data.sequences import ClassifiedData, Examples, held_out

_VALIDATION, _KEY = 0.1, 0x1DB


class ImdbOptions(HubOptions):
    """Where the reviews are, and how much of one is read."""

    path: Path | None = Field(
        None, description="The folder aclImdb, or one with imdb_train.jsonl and imdb_test.jsonl."
    )
    length: int = Field(4096, ge=1, le=1 << 20, description="Bytes of a review, at most.")


class Imdb:
    """The task by name."""

    name: ClassVar[str] = "imdb"
    summary: ClassVar[str] = "whether a film review is for or against, byte by byte"
    options: ClassVar[type[TaskOptions]] = ImdbOptions

    def open(self, options: ImdbOptions, seed: int) -> ClassifiedData:
        """See `Task.open`; a tenth of the training reviews is for validation."""
        if options.path is None and options.hub is None:
            message = "the reviews of IMDb do not come with spectrakit"
            hint = (
                "task.hub=stanfordnlp/imdb, or task.path=FOLDER of aclImdb "
                "(ai.stanford.edu/~amaas/data/sentiment); bytes and listops need no download"
            )
            raise UsageError(message, hint=hint)
        read = {split: _examples(options, split) for split in ("train", "test")}
        train, validation = held_out(read["train"], _VALIDATION, _KEY)
        of: dict[Split, Examples] = {
            "train": train, "validation": validation, "test": read["test"]
        }  # fmt: skip
        shape = TaskShape("classification", "tokens", 257, options.length, classes=2)
        return ClassifiedData(shape, of, seed)


def _examples(options: ImdbOptions, split: str) -> Examples:
    if options.path is None:
        reviews = list(_of_hub(options, split))
    else:
        reviews = list(_reviews(options.path, split))
    if not reviews:
        message = (
            f"{options.path} has no reviews for {split}: neither {split}/pos/*.txt nor a .jsonl"
        )
        raise UsageError(message, hint="task.path=FOLDER of aclImdb")
    length = options.length
    ids = [np.frombuffer(text[:length], np.uint8).astype(np.int16) + 1 for text, _ in reviews]
    return Examples(ids, np.array([label for _, label in reviews], dtype=np.int64))


def _of_hub(options: ImdbOptions, split: str) -> Iterator[tuple[bytes, int]]:
    for text, label in hub_rows(options, split, (("text",), ("label",))):
        if not isinstance(text, str) or label not in (0, 1):
            message = f"{options.hub}, {split}: wanted a text and a label of 0 or 1"
            raise MalformedError(message)
        if text:
            yield text.encode(), int(label)


def _reviews(path: Path, split: str) -> Iterator[tuple[bytes, int]]:
    """Texts, none empty, and labels."""
    for label, name in enumerate(("neg", "pos")):
        for file in sorted((path / split / name).glob("*.txt")):
            if text := file.read_bytes():
                yield text, label
    with suppress(UsageError):
        file, opened = first_of(path, [f"imdb_{split}.jsonl"])
        with opened() as lines:
            yield from _lines(lines, file)


def _lines(lines: IO[str], file: Path) -> Iterator[tuple[bytes, int]]:
    try:
        for number, line in enumerate(lines, 1):
            row = json.loads(line)
            text = row.get("text") if isinstance(row, dict) else None
            if not text or not isinstance(text, str) or row.get("label") not in (0, 1):
                message = f"{file}, line {number}: wanted a label of 0 or 1, and a text"
                raise MalformedError(message)
            yield text.encode(), int(row["label"])
    except (*DAMAGE, RecursionError) as error:  # a line of brackets alone recurses without end
        raise MalformedError(f"{file} cannot be read: {error}".splitlines()[0]) from error
