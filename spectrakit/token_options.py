"""What data mode reads, and how much of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from spectrakit.errors import UsageError
from spectrakit.options import Help, Options, option
from spectrakit.wording import given, named

#: What a run's record has for the name of a text that came that way, and cannot be read again.
STANDARD_INPUT = "-"
#: The same for the text that ships with spectrakit.
BUNDLED_TEXT = "bundled tiny-shakespeare"


@dataclass(frozen=True)
class TokenOptions(Options):
    """What data mode reads, and how much of it.

    text: a UTF-8 file, or "-" for standard input. tokens: a .npy file of token ids, (n,) for one
    stream or (sequences, length). With neither, the bundled public-domain text.
    tokenizer: a folder, a tokenizer.json, a Hub repository or "bytes"; None for the checkpoint's.
    bos: begin every sequence and every prompt with the tokenizer's or config's BOS token, which
    counts as one of its tokens. chat_template: read every sequence and every prompt as a message of
    the user, in the tokenizer's chat template.
    """

    group: ClassVar[str] = "source"

    text: str | None = option(
        None,
        Help("UTF-8 text to run the model on; - for standard input.", unset="a bundled text"),
        flag="text",
        data_mode=True,
        compared=False,
    )
    tokens: Path | None = option(
        None,
        "Token ids to run the model on, a .npy file of (n,) or (sequences, length).",
        flag="tokens",
        data_mode=True,
        compared=False,
    )
    tokenizer: str | None = option(
        None,
        Help("A Hub repository, a folder, a tokenizer.json, or bytes.", unset="the model's own"),
        flag="tokenizer",
        data_mode=True,
    )
    batch_size: int = option(
        4, "Sequences per batch.", flag="batch_size", at_least=1, data_mode=True, compared=False
    )
    seq_len: int = option(512, "Tokens of a sequence.", flag="seq_len", at_least=1, data_mode=True)
    max_tokens: int = option(8192, "Tokens in all.", flag="max_tokens", at_least=1, data_mode=True)
    bos: bool = option(
        False, "Begin every sequence and prompt with the BOS token.", flag="bos", data_mode=True
    )
    chat_template: bool = option(
        False,
        "Read every sequence and prompt as a user's message in the tokenizer's chat template.",
        flag="chat_template",
        data_mode=True,
    )

    def __post_init__(self) -> None:
        """Raises UsageError for a value that is none, and a combination that means nothing."""
        super().__post_init__()
        if self.text is not None and self.tokens is not None:
            raise UsageError("give a text or a token file, not both")
        if self.tokens is not None and self.chat_template:
            raise UsageError("a chat template goes around a text, not around token ids")
        if self.bos and self.seq_len < 2:
            message = f"a BOS token and another: {named('seq_len')} must be at least 2"
            raise UsageError(message, hint=given(seq_len=512))

    @property
    def asked(self) -> bool:
        """Whether there is a text or a token file to run the model on."""
        return self.text is not None or self.tokens is not None

    @property
    def file(self) -> Path | None:
        """The file that is read; None for standard input and the bundled text."""
        if self.tokens is not None:
            return self.tokens
        return None if self.text in (None, STANDARD_INPUT) else Path(self.text or "")

    def record(self) -> dict[str, Any]:
        """See `Options.record`; files are found from anywhere."""
        found = super().record()
        for name in ("text", "tokenizer"):
            named_file = found[name]
            if named_file not in (None, STANDARD_INPUT) and Path(named_file).exists():
                found[name] = str(Path(named_file).absolute())
        return found

    @property
    def called(self) -> str:
        """What is read, in messages."""
        if self.text == STANDARD_INPUT:
            return "standard input"
        return BUNDLED_TEXT if self.file is None else self.file.name


def file_sha256(path: Path | None) -> str | None:
    """Hash of a file's content; None where there is no such file."""
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
