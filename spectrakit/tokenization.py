"""The tokenizer of a checkpoint: its own, the one the catalog names, or the one the user names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit.errors import MalformedError, UsageError

if TYPE_CHECKING:
    from spectrakit.model import Model

_FILE = "tokenizer.json"
_ADVICE = "--tokenizer NAME (a Hub repository, a folder, a tokenizer.json, or bytes)"


def encoder(name: str | None, model: Model) -> Callable[[str], Sequence[int]]:
    """A function from text to token ids.

    name: "bytes", a folder, a tokenizer.json or a Hub repository; None for the checkpoint's own
    `tokenizer.json`, or else the one that the catalog names for it.

    Raises UsageError where no tokenizer can be had, MalformedError where its file is damaged.
    """
    if name == "bytes":
        return lambda text: text.encode("utf-8")
    path = _named(name, model) if name is not None else _own(model)
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        message = f"{path.name} of {name or model.checkpoint.model_id} is not a tokenizer: {error}"
        raise MalformedError(message, hint=_ADVICE) from error
    tokenizer.no_truncation()

    def encode(text: str) -> Sequence[int]:
        # A text is encoded in blocks: marks of a beginning would land in the middle of it.
        ids: Sequence[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def _named(name: str, model: Model) -> Path:
    path = Path(name)
    if path.is_dir():
        path = path / _FILE
    if path.is_file():
        return path
    if path.suffix == ".json" or path.is_absolute():
        message = f"there is no tokenizer {name}"
        raise UsageError(message, hint=_ADVICE)
    found = model.hub.fetch_file(name, _FILE)
    if found is None:
        message = f"the repository {name} has no {_FILE}"
        raise UsageError(message, hint=_ADVICE)
    return found


def _own(model: Model) -> Path:
    checkpoint = model.checkpoint
    own = checkpoint.file_path(_FILE)
    if own is not None:
        return own
    if checkpoint.tokenizer is not None:
        return _named(checkpoint.tokenizer, model)
    message = f"{checkpoint.model_id} comes without a {_FILE}"
    raise UsageError(message, hint=_ADVICE)
