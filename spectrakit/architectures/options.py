"""Options of a model that its weights do not show: taken from its config, or asked for by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit.errors import UsageError
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured

#: A value an option may have; `float` stands for any number, `int` for any whole one from 0.
Choice: TypeAlias = "str | bool | type[float] | type[int] | None"

_PLACEHOLDERS: dict[type, str] = {float: "NUMBER", int: "LENGTH"}


@dataclass(frozen=True)
class Option:
    """A key of the config that decides what the weights mean, and is never guessed.

    choices: what it may be; the first is the usual one, and appears in the hint.
    """

    key: str
    choices: tuple[Choice, ...]

    def value(self, source: Configured) -> Any:  # noqa: ANN401  (one of the choices)
        """Its value. Raises UsageError where it is none of the choices."""
        value = source.config[self.key]
        if any(_fits(value, choice) for choice in self.choices):
            return value
        message = f"the config of {source.model_id} says {self.key} = {value!r}"
        hint = f"{self.key} is {self._described()}: {example_config([self])}"
        raise UsageError(message, hint=hint)

    @property
    def example(self) -> object:
        """Its usual value, or a word for one."""
        usual = self.choices[0]
        return _PLACEHOLDERS[usual] if isinstance(usual, type) else usual

    def __str__(self) -> str:
        return f"{self.key} ({self._described()})"

    def _described(self) -> str:
        *most, last = (_spelt(choice) for choice in self.choices)
        return f"{', '.join(most)} or {last}" if most else last


def example_config(options: Sequence[Option]) -> str:
    """How `options` are given, at their usual values."""
    return given(config={option.key: option.example for option in options})


LONGEST = Option("l_max", (int,))


def kernel_length(source: Configured) -> int | None:
    """`l_max` of the config, the length of a layer's kernel; None where it says none."""
    length = source.config.get(LONGEST.key)
    return length if _fits(length, int) and length else None


def require(source: Configured, options: Sequence[Option]) -> None:
    """Raise UsageError, naming them all at once, unless the config says every one of `options`."""
    missing = [option for option in options if option.key not in source.config]
    if missing:
        message = (
            f"the weights of {source.model_id} do not show {', '.join(str(o) for o in missing)}"
        )
        hint = f"{example_config(missing)}, with the values it was trained with"
        raise UsageError(message, hint=hint)


def _fits(value: object, choice: Choice) -> bool:
    if not isinstance(choice, type):
        return type(value) is type(choice) and value == choice
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return choice is float or (isinstance(value, int) and value >= 0)


def _spelt(choice: Choice) -> str:
    if isinstance(choice, type):
        return _PLACEHOLDERS[choice]
    return choice if isinstance(choice, str) else json.dumps(choice)
