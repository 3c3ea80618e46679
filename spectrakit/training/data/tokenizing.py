"""From text to token ids, by a byte-level BPE on this disk.

tokenizer.json                 of the library tokenizers
vocab.json, merges.txt         of GPT-2; encoder.json, vocab.bpe in its first release
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from spectrakit.errors import MalformedError, UsageError

_WHOLE = "tokenizer.json"
_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
#: Characters that are encoded at once, and where a block may end: before a space and a word.
_BLOCK, _SEAM = 1 << 20, re.compile(r"(?<=\S)(?= [A-Za-z])")


def read_tokenizer(path: Path) -> tuple[Callable[[str], np.ndarray], int]:
    """A function from text to ids (n,) int32, and how many ids there are.

    path: of a tokenizer.json, of a vocabulary beside its merges, or of a folder that holds them.
    Raises UsageError where there is none, MalformedError where it is damaged.
    """
    whole, pair = _files(path)
    try:
        from tokenizers import ByteLevelBPETokenizer, Tokenizer

        if pair is None:
            found = Tokenizer.from_file(str(whole))
        else:
            found = ByteLevelBPETokenizer(*map(str, pair))
    except Exception as error:
        raise MalformedError(f"{path} is no tokenizer: {error}".splitlines()[0]) from error

    def encode(text: str) -> np.ndarray:
        ids = [found.encode(part, add_special_tokens=False).ids for part in _blocks(text)]
        return np.concatenate([np.array(own, dtype=np.int32) for own in ids])

    return encode, found.get_vocab_size()


def _files(path: Path) -> tuple[Path, tuple[Path, Path] | None]:
    """The tokenizer.json, or a vocabulary and its merges."""
    if path.is_dir():
        if (path / _WHOLE).is_file():
            return path / _WHOLE, None
        for names in _PAIRS:
            if all((path / name).is_file() for name in names):
                return path, (path / names[0], path / names[1])
        message = f"{path} holds neither a tokenizer.json nor vocab.json with merges.txt"
        raise UsageError(message, hint="task.tokenizer=FOLDER of GPT-2's tokenizer")
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint=f"task.tokenizer={_WHOLE}")
    for vocabulary, merges in _PAIRS:
        if path.name in (vocabulary, merges):
            return _files(path.parent)
    return path, None


def _blocks(text: str) -> Iterator[str]:
    """The text in parts whose tokens, by byte-level BPE, are those of the whole."""
    first = 0
    while (seam := _SEAM.search(text, first + _BLOCK)) is not None:
        yield text[first : seam.start()]
        first = seam.start()
    yield text[first:]
