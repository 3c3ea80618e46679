"""How settings are called in messages: by flag on the command line, by keyword in Python.

A setting has one name. The command line spells it `--seq-len 512`, Python `seq_len=512`, and an
error says it as the one spells it who made it.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_speaks_flags = False


def speak_flags(flags: bool = True) -> None:
    """Say settings as flags from now on in this process; the command line does so."""
    global _speaks_flags  # noqa: PLW0603  (a process is either a command or a user's Python)
    _speaks_flags = flags


def named(setting: str) -> str:
    """The setting `seq_len` by its name: `--seq-len`, or `seq_len`."""
    return f"--{setting.replace('_', '-')}" if _speaks_flags else setting


def given(**settings: object) -> str:
    """Settings with their values, as they are written: `--mode data`, or `mode='data'`.

    True stands for a flag alone. A value in capitals, such as FILE, stands for one.
    """
    return " ".join(_written(name, value) for name, value in settings.items())


def _written(name: str, value: object) -> str:
    if not _speaks_flags:
        stands_for_one = isinstance(value, str) and value.isupper()
        return f"{name}={value if stands_for_one else repr(value)}"
    if value is True:
        return named(name)
    if isinstance(value, tuple | list):
        value = ",".join(map(str, value))
    return f"{named(name)} {value}"


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the known word that is most like `word`; None where none is."""
    near = get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else None
