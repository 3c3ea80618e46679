"""What stands around a text: the token of a sequence's beginning, and a chat's user turn.

Neither is there unless asked for: a text is read as it is, from the first of its own tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.errors import MalformedError, NetworkError, UsageError
from spectrakit.tokenization import encoder_with_ends, side_file, token_id
from spectrakit.wording import given, named

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.checkpoints.access import Opened
    from spectrakit.token_options import TokenOptions

#: No token is longer than this on average: so much text is not encoded further than it is used.
_CHARACTERS = 16
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
          "mask_token")  # fmt: skip


@dataclass(frozen=True)
class Framing:
    """How sequences are made of text and of tokens.

    bos: the id that each begins with; None for none. render: a text as a chat of one user turn,
    with the beginning of the answer where it is asked for; None for the text itself.
    encode: token ids of a text and where each token ends, see `encoder_with_ends`.
    """

    bos: int | None
    render: Callable[[str, bool], str] | None
    encode: Callable[[str], tuple[Sequence[int], Sequence[int]]]

    def begun(self, ids: Sequence[int]) -> Sequence[int]:
        """`ids` behind the beginning-of-sequence token, which a template may have put there."""
        if self.bos is None or (len(ids) and ids[0] == self.bos):
            return ids
        return [self.bos, *ids]

    def prompt(self, text: str) -> Sequence[int]:
        """A prompt, up to where its answer begins."""
        return self._sequence(text, answer=True)

    def turns(self, blocks: Iterable[str], seq_len: int) -> Iterator[Sequence[int]]:
        """The text of `blocks` as user turns, each as long as fits into `seq_len` tokens.

        Each is what the tokenizer makes of the rendered template, whole. Raises UsageError where
        the template leaves no room for a text.
        """
        left = ""
        for block in blocks:
            left += block
            while True:
                ids, used = self._turn(left, seq_len)
                if used == len(left):  # there may be more to it in the next block
                    break
                yield ids
                left = left[used:]
        if left:
            yield self._turn(left, seq_len)[0]

    def _turn(self, text: str, seq_len: int) -> tuple[Sequence[int], int]:
        """The longest beginning of `text` that fits, as a turn, and how many characters it has."""
        piece = text[: _CHARACTERS * seq_len]
        ends = self.encode(piece)[1]
        count = min(len(ends), seq_len)
        while True:
            used = len(piece) if count == len(ends) else ends[count - 1]
            ids = self._sequence(piece[:used], answer=False)
            if used and len(ids) <= seq_len:
                return ids, used
            count -= max(len(ids) - seq_len, 1)
            if count <= 0:
                message = f"the chat template leaves no room for a text in {seq_len} tokens"
                raise UsageError(message, hint=f"a larger {named('seq_len')}")

    def _sequence(self, text: str, *, answer: bool) -> Sequence[int]:
        rendered = text if self.render is None else self.render(text, answer)
        return self.begun(self.encode(rendered)[0])


def framing(options: TokenOptions, model: Opened) -> Framing:
    """What `options` ask to be put around a text for `model`.

    Raises UsageError where there is no such token or no template, MalformedError where they are
    damaged, and what `encoder` raises.
    """
    name = options.tokenizer
    render = _chat(name, model) if options.chat_template else None
    bos = _bos(name, model) if options.bos else None
    # A token file is read without a tokenizer, which need not be there.
    encode = _no_text if options.tokens is not None else encoder_with_ends(name, model)
    return Framing(bos, render, encode)


def _no_text(_: str) -> tuple[Sequence[int], Sequence[int]]:
    raise UsageError("a token file has no text")


def _bos(name: str | None, model: Opened) -> int:
    """The tokenizer's `bos_token`, or else the config's `bos_token_id`."""
    token = _special_tokens(name, model).get("bos_token")
    if token is not None:
        found = token_id(name, model, token)
        if found is not None:
            return found
    config = model.checkpoint.config
    nested = config.get("text_config")
    for holder in (config, nested if isinstance(nested, dict) else {}):
        stored = holder.get("bos_token_id")
        if type(stored) is int:
            return stored
    whose = _whose(name, model)
    message = f"neither the tokenizer nor the config of {whose} names a BOS token"
    if token is not None:
        message = f"the BOS token {token!r} of {whose} is not in its tokenizer's vocabulary"
    hint = f"leave {named('bos')} out, or {given(tokenizer='NAME')} of one that has a BOS"
    raise UsageError(message, hint=hint)


def _chat(name: str | None, model: Opened) -> Callable[[str, bool], str]:
    """The tokenizer's chat template, around one message of the user."""
    template = _template(name, model)
    tokens = _special_tokens(name, model)
    whose = _whose(name, model)
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    # Templates are programs: transformers runs them in Jinja's sandbox.
    renderer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), chat_template=template, **tokens
    )

    def render(text: str, answer: bool) -> str:
        try:
            rendered = renderer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=answer
            )
        except Exception as error:  # whatever the template's own program meets
            message = f"the chat template of {whose} fails on a user's message: {error}"
            raise MalformedError(message, hint=f"leave {named('chat_template')} out") from error
        return str(rendered)

    return render


def _template(name: str | None, model: Opened) -> str:
    """From chat_template.jinja, or else tokenizer_config.json; the one called "default" of many."""
    path = _beside(name, model, "chat_template.jinja")
    if path is not None:
        return _text(path)
    stored = _read(name, model, "tokenizer_config.json").get("chat_template")
    if isinstance(stored, list):
        by_name = {at.get("name"): at.get("template") for at in stored if isinstance(at, dict)}
        stored = by_name.get("default")
    if isinstance(stored, str):
        return stored
    message = f"the tokenizer of {_whose(name, model)} has no chat template"
    hint = f"leave {named('chat_template')} out, or {given(tokenizer='NAME')} of one that has"
    raise UsageError(message, hint=hint)


def _special_tokens(name: str | None, model: Opened) -> dict[str, str]:
    """The special tokens that the tokenizer's files name, by role, as text."""
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        stored = _read(name, model, file)
        for role in _ROLES:
            token = stored.get(role)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                found[role] = token
    return found


def _read(name: str | None, model: Opened, file: str) -> dict[str, Any]:
    from spectrakit.checkpoints.stores import parse_json

    path = _beside(name, model, file)
    return {} if path is None else parse_json(path.read_bytes(), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"{path} is not UTF-8 text") from error


def _beside(name: str | None, model: Opened, file: str) -> Path | None:
    try:
        return side_file(name, model, file)
    except NetworkError:  # offline, what is not in the cache need not be in the repository
        return None


def _whose(name: str | None, model: Opened) -> str:
    return name or model.checkpoint.model_id
