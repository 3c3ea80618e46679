"""A language model over tokens of a BPE, as of WikiText with GPT-2's (Merity et al. 2016).

PATH/train.txt, valid.txt, test.txt       also wiki.train.tokens, ..., also .xz
HUB, such as Salesforce/wikitext          column text, by lines or documents
TOKENIZER                                 a tokenizer.json, or a folder that holds one, or GPT-2's
                                          vocab.json and merges.txt
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data.base import Batch, Split, TaskOptions, TaskShape
from spectrakit.training.data.damage import DAMAGE
from spectrakit.training.data.hub import HubOptions, hub_rows
from spectrakit.training.data.tokenizing import read_tokenizer

_FILES: dict[Split, tuple[str, ...]] = {
    "train": ("train.txt", "wiki.train.tokens", "wiki.train.raw"),
    "validation": ("valid.txt", "wiki.valid.tokens", "wiki.valid.raw"),
    "test": ("test.txt", "wiki.test.tokens", "wiki.test.raw"),
}


class WikitextOptions(HubOptions):
    """Where text and tokenizer are."""

    path: Path | None = Field(None, description="The folder with train.txt, valid.txt, test.txt.")
    tokenizer: Path | None = Field(
        None,
        description="A tokenizer.json, or a folder that holds one, or GPT-2's vocab.json and "
        "merges.txt.",
    )
    length: int = Field(1024, ge=1, le=1 << 20, description="Tokens of a sequence.")


@dataclass(frozen=True)
class TokenStream:
    """Splits of one long text of tokens each, in windows that do not overlap."""

    shape: TaskShape
    fingerprint: str
    tokens: dict[Split, np.ndarray] = field(repr=False)

    def size(self, split: Split) -> int:
        """Windows of a split."""
        return (len(self.tokens[split]) - 1) // self.shape.length

    def batch(self, split: Split, numbers: Sequence[int], step: int | None = None) -> Batch:  # noqa: ARG002
        """See `TaskData.batch`."""
        length = self.shape.length
        starts = np.asarray(numbers, dtype=np.int64)[:, None] * length
        windows = self.tokens[split][starts + np.arange(length + 1)].astype(np.int64)
        lengths = np.full(len(starts), length, dtype=np.int64)
        return Batch(windows[:, :-1], windows[:, 1:], lengths)


class Wikitext:
    """The task by name."""

    name: ClassVar[str] = "wikitext"
    summary: ClassVar[str] = "the next token of WikiText, or of any text, in a BPE"
    options: ClassVar[type[TaskOptions]] = WikitextOptions

    def open(self, options: WikitextOptions, seed: int) -> TokenStream:  # noqa: ARG002
        """See `Task.open`."""
        nowhere = options.path is None and options.hub is None
        if nowhere or options.tokenizer is None:
            message = "WikiText and its tokenizer do not come with spectrakit"
            hint = (
                "task.path=FOLDER with train.txt, valid.txt and test.txt, or "
                "task.hub=Salesforce/wikitext task.hub_config=wikitext-2-raw-v1, and "
                "task.tokenizer=tokenizer.json of GPT-2; bytes needs no download"
            )
            raise UsageError(message, hint=hint)
        encode, vocabulary = read_tokenizer(options.tokenizer)
        tokens = {split: encode(_text(options, split)) for split in _FILES}
        digest = hashlib.sha256(f"{options.length} {vocabulary}".encode())
        for split, own in tokens.items():
            if len(own) <= options.length:
                message = f"{options.path or options.hub}: {split} has {len(own)} tokens"
                raise UsageError(message, hint="a smaller task.length")
            digest.update(own.data)
        shape = TaskShape("language", "tokens", vocabulary, options.length, metric="bits_per_token")
        return TokenStream(shape, digest.hexdigest()[:16], tokens)


def _text(options: WikitextOptions, split: Split) -> str:
    path = options.path
    if path is None:
        rows = hub_rows(options, split, (("text",),))
        # Lines of WikiText have their ends, but for empty ones.
        return "".join(text if text.endswith("\n") else f"{text}\n" for (text,) in rows)
    for name in _FILES[split]:
        for file in (path / name, path / f"{name}.xz"):
            if file.is_file():
                try:
                    content = file.read_bytes()
                    packed = file.suffix == ".xz"
                    return (lzma.decompress(content) if packed else content).decode("utf-8")
                except DAMAGE as error:
                    raise MalformedError(f"{file} is not UTF-8 text: {error}") from error
    message = f"{path} has no {_FILES[split][0]}"
    raise UsageError(message, hint="task.path=FOLDER with train.txt, valid.txt and test.txt")
