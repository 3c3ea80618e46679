"""How settings are called in messages: by flag on the command line, by keyword in Python.

A setting has one name. The command line spells it `--seq-len 512`, Python `seq_len=512`, and an
error says it as the one spells it who made it. Messages are made when they are needed, so that a
text kept in a module's constant would say it as nobody asked.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from os import PathLike
from typing import TYPE_CHECKING

from spectrakit.errors import SpectrakitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_speaks_flags = False


@contextmanager
def speaking_flags() -> Iterator[None]:
    """Say settings as flags within this block, in all threads; the command line does so."""
    global _speaks_flags
    before, _speaks_flags = _speaks_flags, True
    try:
        yield
    finally:
        _speaks_flags = before


def speaks_flags() -> bool:
    """Whether settings are said as flags now: for another process that is to say them alike."""
    return _speaks_flags


def named(setting: str) -> str:
    """The setting `seq_len` by its name: `--seq-len`, or `seq_len`."""
    return _flag(setting) if _speaks_flags else setting


def given(**settings: object) -> str:
    """Settings with their values, as they are written: `--mode data`, or `mode='data'`.

    True stands for a flag alone, a text in capitals, such as FILE, for any value. A config is told
    by key: `--config disc=zoh`, or `config={'disc': 'zoh'}`.
    """
    if not _speaks_flags:
        return ", ".join(f"{name}={_literal(value)}" for name, value in settings.items())
    return as_flags(**settings)


def as_flags(**settings: object) -> str:
    """The same on the command line, whoever asks: for a whole command that is to be typed."""
    return " ".join(_flags(name, value) for name, value in settings.items())


@contextmanager
def inspecting(model: str, **settings: object) -> Iterator[None]:
    """Errors within this block that send the user to `inspect` do so by `model`, as it was typed.

    settings: of `inspect`, without which it would not get as far; those that are None are left out.
    """
    try:
        yield
    except SpectrakitError as error:
        if sends_to_inspect(error):
            asked = [_flags(name, value) for name, value in settings.items() if value is not None]
            flags = [_flag(name) for name in _ALONE if _flag(name) in (error.hint or "").split()]
            error.hint = " ".join([_INSPECT, shlex.quote(model), *asked, *flags])
        raise


#: How a hint begins that is to list what a checkpoint holds.
_INSPECT = "spectrakit inspect"
#: Settings of it without a value that a hint may have, and that stay.
_ALONE = ("check_values",)


def sends_to_inspect(error: SpectrakitError) -> bool:
    """Whether the next step of an error is to inspect the model that was asked for."""
    hint = error.hint or ""
    return hint.startswith(_INSPECT) and not error.hint_is_typed


def per_door(flag: str, keyword: str) -> str:
    """What is called otherwise in Python than on the command line: one of the two."""
    return flag if _speaks_flags else keyword


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _flags(name: str, value: object) -> str:
    flag = _flag(name)
    if value is True:
        return flag
    if isinstance(value, Mapping):
        words = (f"{key}={_text(entry)}" for key, entry in value.items())
        return " ".join(f"{flag} {shlex.quote(word)}" for word in words)
    if isinstance(value, tuple | list):
        value = ",".join(map(str, value))
    return f"{flag} {shlex.quote(str(value))}"


def _text(value: object) -> str:
    """A value as the command line takes it: JSON, where it is no text."""
    return value if isinstance(value, str) else json.dumps(value)


def _literal(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_literal(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, str) and value.isupper():
        return value
    return repr(str(value) if isinstance(value, PathLike) else value)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the known word that is most like `word`; None where none is."""
    near = get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else None
