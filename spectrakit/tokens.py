"""Token batches for data mode, streamed from a text, a token file or the bundled text.

Nothing is ever held but the text block being encoded and the batch being filled.
"""

from __future__ import annotations

import io
import lzma
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np

from spectrakit import catalog
from spectrakit.errors import MalformedError, UsageError
from spectrakit.framing import framing
from spectrakit.token_options import STANDARD_INPUT, TokenOptions
from spectrakit.tokenization import encoder
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.checkpoints.access import Opened

#: Text of about this many characters is encoded at once, split where a line or a word ends.
_BLOCK = 1 << 16

#: How a file of numpy begins.
_NPY = b"\x93NUMPY"

Encode: TypeAlias = Callable[[str], Iterable[int]]


@dataclass(frozen=True)
class TokenBatch:
    """ids (B, T) of int64, and valid (B, T) of bool: False on padding at a sequence's end."""

    ids: np.ndarray
    valid: np.ndarray


def token_batches(
    options: TokenOptions, model: Opened, vocabulary_size: int
) -> Iterator[TokenBatch]:
    """The batches of at most `max_tokens` tokens.

    Raises UsageError where a file, a tokenizer or a token id does not fit, MalformedError where a
    file cannot be read as what it should be.
    """
    rows = _rows(options, model)
    left = options.max_tokens
    while left > 0 and (group := list(islice(rows, options.batch_size))):
        kept = []
        for row in group:
            kept.append(row[:left])
            left -= len(kept[-1])
        kept = [row for row in kept if len(row)]
        yield padded(kept, vocabulary_size)


def check_source(options: TokenOptions, model: Opened) -> None:
    """Read the beginning of what is to be read, before a model is; not of standard input.

    Raises what `token_batches` raises where a file is not what it should be, and where there is no
    BOS token or chat template.
    """
    if options.bos or options.chat_template:
        framing(options, model)
    if options.tokens is not None:
        next(_token_rows(options), None)
    elif options.text != STANDARD_INPUT and next(text_blocks(options), None) is None:
        raise _no_text(options)


def padded(rows: Sequence[np.ndarray], vocabulary_size: int) -> TokenBatch:
    """Rows of token ids, none of them empty, as a batch padded behind.

    Raises UsageError for an id that the model does not know.
    """
    length = max(len(row) for row in rows)
    ids = np.zeros((len(rows), length), np.int64)
    valid = np.zeros((len(rows), length), bool)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = row
        valid[position, : len(row)] = True
    low, high = ids.min(), ids.max()
    if low < 0 or high >= vocabulary_size:
        bad = low if low < 0 else high
        message = f"token id {bad} is outside the model's vocabulary of {vocabulary_size}"
        hint = f"{given(tokenizer='NAME')} of the one that the model was trained with"
        raise UsageError(message, hint=hint)
    return TokenBatch(ids, valid)


def _rows(options: TokenOptions, model: Opened) -> Iterator[np.ndarray]:
    """The sequences, each with what stands around it."""
    if not (options.bos or options.chat_template):
        return _token_rows(options) if options.tokens is not None else _text_rows(options, model)
    frame = framing(options, model)
    if options.chat_template:
        found: Iterator[Sequence[int]] = frame.turns(text_blocks(options), options.seq_len)
        first = next(found, None)
        if first is None:
            raise _no_text(options)
        found = chain([first], found)
    else:
        shorter = replace(options, seq_len=options.seq_len - 1, bos=False)
        found = (frame.begun(row.tolist()) for row in _rows(shorter, model))
    return (np.asarray(row, np.int64) for row in found)


# ---- tokens from a file ---------------------------------------------------------------------


def _token_rows(options: TokenOptions) -> Iterator[np.ndarray]:
    path = options.tokens
    assert path is not None  # noqa: S101
    try:
        with path.open("rb") as file:  # of archives and pickles numpy would open more than that
            if file.read(len(_NPY)) != _NPY:
                raise ValueError
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        message = f"there is no token file {path}"
        raise UsageError(message) from error
    except MemoryError:
        raise
    except Exception as error:  # a bad header makes numpy raise whatever its parser meets
        message = f"{path} is not a .npy file of integers"
        raise MalformedError(message, hint=f"{given(text='FILE')} for a text") from error
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
        message = f"{path} holds {array.dtype} of shape {array.shape}"
        raise MalformedError(message, hint="integers of shape (n,) or (sequences, length)")
    if array.size == 0:
        message = f"{path} holds no token"
        raise UsageError(message)
    for stream in array if array.ndim == 2 else [array]:
        for begin in range(0, len(stream), options.seq_len):
            yield np.asarray(stream[begin : begin + options.seq_len], np.int64)


# ---- tokens from text -----------------------------------------------------------------------


def _text_rows(options: TokenOptions, model: Opened) -> Iterator[np.ndarray]:
    encode = encoder(options.tokenizer, model)
    ids = chain.from_iterable(encode(block) for block in text_blocks(options))
    empty = True
    while row := list(islice(ids, options.seq_len)):
        empty = False
        yield np.asarray(row, np.int64)
    if empty:
        raise _no_text(options)


def _no_text(options: TokenOptions) -> UsageError:
    return UsageError(f"{options.called} holds no text")


def text_blocks(options: TokenOptions) -> Iterator[str]:
    """The text, or the bundled one, in blocks that end where a line or at least a word ends.

    Raises UsageError where it cannot be read, MalformedError where it is not UTF-8.
    """
    with _open_text(options.text) as file:
        yield from _blocks(file, options.called)


@contextmanager
def _open_text(text: str | None) -> Iterator[IO[str]]:
    if text == STANDARD_INPUT:
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="strict")
    elif text is None:
        yield io.StringIO(bundled_text())
    else:
        try:
            file = Path(text).open(encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            message = f"cannot read the text {text}: {error.strerror}"
            raise UsageError(message) from error
        with file:
            yield file


def bundled_text() -> str:
    """The last tenth of tiny Shakespeare: what the bundled checkpoints were not trained on."""
    packed = catalog.folder() / "texts" / "tiny-shakespeare.txt.xz"
    text = lzma.decompress(packed.read_bytes()).decode("utf-8")
    return text[len(text) * 9 // 10 :]


def _blocks(file: IO[str], name: str, size: int = _BLOCK) -> Iterator[str]:
    """The text in blocks that end where a line or at least a word ends."""
    rest = ""
    try:
        while chunk := file.read(size):
            block = rest + chunk
            cut = max(block.rfind("\n"), block.rfind(" "))
            # A space starts the next word: tokenizers of the GPT-2 kind join the two.
            cut = cut + 1 if cut >= 0 and block[cut] == "\n" else max(cut, 0)
            cut = cut or len(block)
            yield block[:cut]
            rest = block[cut:]
    except UnicodeDecodeError as error:
        message = f"{name} is not UTF-8 text (byte {error.start} of a block)"
        raise MalformedError(message, hint="convert it to UTF-8") from error
    if rest:
        yield rest
