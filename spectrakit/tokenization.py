"""The tokenizer of a checkpoint: its own, the one the catalog names, or the one the user names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit.errors import MalformedError, SpectrakitError, UsageError
from spectrakit.wording import given

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from spectrakit.checkpoints.access import Opened

_FILE = "tokenizer.json"
#: What a run's manifest says where nothing else was asked for.
OWN_TOKENIZER = "the checkpoint's own"


def encoder(name: str | None, model: Opened) -> Callable[[str], Sequence[int]]:
    """A function from text to token ids.

    name: "bytes", a folder, a tokenizer.json or a Hub repository; None for the checkpoint's own
    `tokenizer.json`, or else the one that the catalog names for it.

    Raises UsageError where no tokenizer can be had, MalformedError where its file is damaged.
    """
    if _is_bytes(name, model):
        return lambda text: text.encode("utf-8")
    encoding = _encoding(name, model)

    def encode(text: str) -> Sequence[int]:
        ids: Sequence[int] = encoding(text).ids
        return ids

    return encode


def encoder_with_ends(
    name: str | None, model: Opened
) -> Callable[[str], tuple[Sequence[int], Sequence[int]]]:
    """A function from text to token ids, and to where each token ends: characters before its end.

    Of several tokens that make one character, each ends where the character does. `name` and errors
    are those of `encoder`.
    """
    if _is_bytes(name, model):
        return lambda text: (
            text.encode("utf-8"),
            [end for end, letter in enumerate(text, 1) for _ in letter.encode("utf-8")],
        )
    encoding = _encoding(name, model)

    def encode(text: str) -> tuple[Sequence[int], Sequence[int]]:
        found = encoding(text)
        return found.ids, [end for _, end in found.offsets]

    return encode


#: Files beside a tokenizer that name its special tokens and hold its chat template.
SIDE_FILES = ("special_tokens_map.json", "tokenizer_config.json", "chat_template.jinja")


def side_file(name: str | None, model: Opened, filename: str) -> Path | None:
    """A small file beside the `tokenizer.json` that `encoder` reads; None where there is none.

    Raises NetworkError where it cannot be had.
    """
    if _is_bytes(name, model):
        return None
    if name is None:
        checkpoint = model.checkpoint
        if checkpoint.tokenizer is None or checkpoint.file_path(_FILE) is not None:
            return checkpoint.file_path(filename)
        name = checkpoint.tokenizer
    path = Path(name)
    if not path.exists():
        return model.hub.fetch_file(name, filename)
    path = (path if path.is_dir() else path.parent) / filename
    return path if path.is_file() else None


def token_id(name: str | None, model: Opened, token: str) -> int | None:
    """The id of a special token; None where the tokenizer does not have it, or is not there.

    Raises MalformedError where the tokenizer's file is damaged.
    """
    path = side_file(name, model, _FILE)
    if path is None:
        return None
    found: int | None = _tokenizer(path, f"the tokenizer {path}").token_to_id(token)
    return found


def tokenizer_sha256(name: str | None, model: Opened, *, framed: bool = False) -> str | None:
    """Hash of the file that `encoder` reads; None for bytes, and where there is none to be had.

    framed: of the files too that say what stands around a text (`SIDE_FILES`).
    """
    if _is_bytes(name, model):
        return None
    with suppress(SpectrakitError, OSError):
        path = _named(name, model) if name is not None else _own(model)
        read = hashlib.sha256(path.read_bytes())
        for file in SIDE_FILES if framed else ():
            beside = side_file(name, model, file)
            if beside is not None:
                read.update(f"\n{file}\n".encode() + beside.read_bytes())
        return read.hexdigest()
    return None


def _is_bytes(name: str | None, model: Opened) -> bool:
    """Whether every byte of a text is a token; `from_model` takes this as the model's own, too."""
    return (model.checkpoint.tokenizer if name is None else name) == "bytes"


def _encoding(name: str | None, model: Opened) -> Callable[[str], Encoding]:
    """A function from text to what the tokenizer makes of it; errors are those of `encoder`."""
    path = _named(name, model) if name is not None else _own(model)
    whose = f"the tokenizer {name or f'of {model.checkpoint.model_id}'}"
    tokenizer = _tokenizer(path, whose)

    def encode(text: str) -> Encoding:
        # A text is encoded in blocks: marks of a beginning would land in the middle of it.
        with _library_errors(f"{whose} cannot encode the text"):
            return tokenizer.encode(text, add_special_tokens=False)

    return encode


def _tokenizer(path: Path, whose: str) -> Tokenizer:
    """The tokenizer in the file, which neither pads, cuts nor varies, whatever the file says."""
    from tokenizers import Tokenizer

    with _library_errors(f"{whose} is not a tokenizer"):
        # From its content: the library takes no path that is not UTF-8.
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):  # of BPE: merges left out at random, in training
        tokenizer.model.dropout = None
    return tokenizer


@contextmanager
def _library_errors(what: str) -> Iterator[None]:
    """Whatever the tokenizers library raises in this block, as a MalformedError of one line."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # nothing more precise: its panics are no Exception
        raise MalformedError(f"{what}: {error}", hint=_advice()) from error


def _advice(*, in_memory: bool = False) -> str:
    if in_memory:
        return "sk.from_model(module, tokenizer=...), or token ids: tokens='ids.npy'"
    which = "(a Hub repository, a folder, a tokenizer.json, or bytes)"
    return f"{given(tokenizer='NAME')} {which}"


def _named(name: str, model: Opened) -> Path:
    path = Path(name)
    if path.is_dir():
        path = path / _FILE
    if path.is_file():
        return path
    if path.suffix == ".json" or path.is_absolute():
        message = f"there is no tokenizer {name}"
        raise UsageError(message, hint=_advice())
    found = model.hub.fetch_file(name, _FILE)
    if found is None:
        message = f"the repository {name} has no {_FILE}"
        raise UsageError(message, hint=_advice())
    return found


def _own(model: Opened) -> Path:
    checkpoint = model.checkpoint
    own = checkpoint.file_path(_FILE)
    if own is not None:
        return own
    if checkpoint.tokenizer is not None:
        return _named(checkpoint.tokenizer, model)
    message = f"{checkpoint.model_id} comes without a {_FILE}"
    if any(file.format == "gguf" for file in checkpoint.files):
        message += ", and what a GGUF file says of its tokenizer is not read"
    raise UsageError(message, hint=_advice(in_memory=checkpoint.origin == "memory"))
