"""Options of a model that its weights do not show: taken from its config, or asked for by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured

#: A value an option may have; `float` stands for any number, `int` for any whole one from 0.
Choice: TypeAlias = "str | bool | type[float] | type[int] | None"


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
        raise UsageError(message, hint=f"{self.key} is {self._described()}: {self.example}")

    @property
    def example(self) -> str:
        """How the usual value is given on the command line."""
        return f"--config {self.key}={_spelt(self.choices[0])}"

    def __str__(self) -> str:
        return f"{self.key} ({self._described()})"

    def _described(self) -> str:
        *most, last = (_spelt(choice) for choice in self.choices)
        return f"{', '.join(most)} or {last}" if most else last


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
        hint = f"{' '.join(o.example for o in missing)}, with the values it was trained with"
        raise UsageError(message, hint=hint)


def _fits(value: object, choice: Choice) -> bool:
    if not isinstance(choice, type):
        return type(value) is type(choice) and value == choice
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return choice is float or (isinstance(value, int) and value >= 0)


def _spelt(choice: Choice) -> str:
    if isinstance(choice, type):
        return "NUMBER" if choice is float else "LENGTH"
    return choice if isinstance(choice, str) else json.dumps(choice)
