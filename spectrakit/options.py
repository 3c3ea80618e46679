"""Options: what a run or an analysis may be told, each declared once, as a field.

    @dataclass(frozen=True)
    class MemoryOptions(Options):
        group: ClassVar[str] = "memory"
        horizon: int = option(65_536, "Memory is computed for delays below this one.", at_least=1)

From the field follow the command line's flag (`--memory-horizon`, or as `flag` says), the keyword
in Python (the same with underscores), the key in a spec file (`horizon` in `[options.memory]`), the
help, the check of a value and the record in `run.json`. This module imports neither torch nor an
analysis, and nor may modules of options.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from spectrakit.errors import UsageError
from spectrakit.wording import given, named

_RULE = "spectrakit"


@dataclass(frozen=True)
class Help:
    """What the command line says of an option.

    text: a sentence. metavar: what stands for its value. unset: what no value is called: a default
    of None, or a tuple without any, which is refused otherwise. negated: whether a bool has
    --no-FLAG too.
    """

    text: str
    metavar: str | None = None
    unset: str | None = None
    negated: bool = True


@dataclass(frozen=True)
class Rule:
    """What `option` says of a field besides its name, type and default."""

    help: str
    metavar: str | None
    unset: str | None
    negated: bool
    flag: str | None
    at_least: float | None
    above: float | None
    at_most: float | None
    data_mode: bool
    compared: bool


def option(
    default: Any,  # noqa: ANN401  (of the field's own type)
    help: str | Help,  # noqa: A002  (the word that everybody knows it by)
    *,
    flag: str | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    data_mode: bool = False,
    compared: bool = True,
) -> Any:  # noqa: ANN401  (as `dataclasses.field`)
    """A field that is an option; its type is int, float, bool, str, Path, a Literal or a tuple.

    help: a sentence, or a `Help` with more than that. flag: its name on the command line and as a
    keyword, with underscores, where that is not GROUP_FIELD. at_least, above, at_most: bounds of a
    number. data_mode: whether only a forward pass follows it. compared: whether `compare` says
    where two runs differ in it.
    """
    told = Help(help) if isinstance(help, str) else help
    rule = Rule(told.text, told.metavar, told.unset, told.negated, flag, at_least, above, at_most,
                data_mode, compared)  # fmt: skip
    return field(default=default, metadata={_RULE: rule})


@dataclass(frozen=True)
class Setting:
    """An option as a class declares it.

    name: of the field. keyword: the name that users know it by, `rank_tokens`. type: of its values;
    optional: whether None is one too. many: whether it is a tuple of such values.
    """

    name: str
    keyword: str
    type: Any
    optional: bool
    many: bool
    default: Any
    rule: Rule

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a Literal; none of other types."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    def check(self, value: object) -> None:
        """Raise UsageError where `value` is none that the option may have."""
        if value is None and self.optional:
            return
        if not self.many:
            self._check_one(value)
            return
        if not isinstance(value, tuple) or not (value or self.rule.unset):
            message = f"{named(self.keyword)} must be one value or several, not {value!r}"
            raise UsageError(message, hint=given(**{self.keyword: self.default}))
        for entry in value:
            self._check_one(entry)

    def _check_one(self, value: object) -> None:
        name = named(self.keyword)
        if self.choices:
            if value not in self.choices:
                message = f"unknown {name} {value!r}"
                raise UsageError(message, hint=f"one of: {', '.join(map(str, self.choices))}")
            return
        wanted = {float: (int, float), Path: (Path, str)}.get(self.type, self.type)
        if not isinstance(value, wanted) or (isinstance(value, bool) and self.type is not bool):
            raise UsageError(f"{name} must be {_KINDS[self.type]}, not {value!r}")
        rule = self.rule
        # Written so that NaN is refused as well.
        if rule.at_least is not None and not value >= rule.at_least:
            raise UsageError(f"{name} must be at least {rule.at_least:g}, not {value:g}")
        if rule.above is not None and not value > rule.above:
            raise UsageError(f"{name} must be above {rule.above:g}, not {value:g}")
        if rule.at_most is not None and not value <= rule.at_most:
            raise UsageError(f"{name} must be at most {rule.at_most:g}, not {value:g}")


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text",
          Path: "a path"}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """A group of options: what one analysis, or several, may be told."""

    #: What spec files and `run.json` call the group; unique among all plugins.
    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Raises UsageError for a value that an option may not have.

        A path may be text, and a number a whole one: 3 is 3.0, in the key of a run too.

        A class that checks more than `option` can say overrides this and calls it.
        """
        for setting in settings(type(self)):
            value = getattr(self, setting.name)
            setting.check(value)
            if setting.type is Path and isinstance(value, str):
                object.__setattr__(self, setting.name, Path(value))
            if setting.type is float and isinstance(value, int):
                object.__setattr__(self, setting.name, float(value))

    def record(self) -> dict[str, Any]:
        """Every option by its field, as JSON values."""
        return {s.name: json_value(getattr(self, s.name)) for s in settings(type(self))}

    def changed(self) -> tuple[Setting, ...]:
        """The options that are not at their defaults."""
        every = settings(type(self))
        return tuple(s for s in every if getattr(self, s.name) != s.default)


O = TypeVar("O", bound=Options)  # noqa: E741


def options_of(given: Iterable[Options], kind: type[O]) -> O:
    """Those of `given` that are of one class; its defaults where none are."""
    return next((each for each in given if isinstance(each, kind)), None) or kind()


_DECLARED: dict[type[Any], tuple[Setting, ...]] = {}


def settings(options: type[Any]) -> tuple[Setting, ...]:
    """The options that a dataclass declares, in order; fields that are none are left out."""
    if options not in _DECLARED:
        _DECLARED[options] = tuple(_settings(options))
    return _DECLARED[options]


def _settings(options: type[Any]) -> Iterator[Setting]:
    hints = get_type_hints(options)
    group = getattr(options, "group", "")
    for each in dataclasses.fields(options):
        rule = each.metadata.get(_RULE)
        if rule is None:
            continue
        kind, optional = _without_none(hints[each.name])
        many = get_origin(kind) is tuple
        if many:
            kind = get_args(kind)[0]
        keyword = rule.flag or (f"{group}_{each.name}" if group else each.name)
        yield Setting(each.name, keyword, kind, optional, many, each.default, rule)


def _without_none(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401  (a type)
    """A type without None, and whether it had it."""
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    others = [kind for kind in get_args(hint) if kind is not NoneType]
    return others[0], len(others) < len(get_args(hint))


def json_value(value: Any) -> Any:  # noqa: ANN401  (of an option)
    """A value of an option as JSON has it; paths are absolute, to be found from anywhere."""
    if isinstance(value, tuple | list):
        return [json_value(entry) for entry in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)  # JSON has no infinity; "inf" is read back as one
    return str(value.absolute()) if isinstance(value, Path) else value
