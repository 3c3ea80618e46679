"""The command line's options made from the settings that declare them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from spectrakit.options import Setting


@dataclass(frozen=True)
class Chosen:
    """What the user chose of some settings, by keyword.

    values: of all of them. given: of those that the user gave, and that are not at their defaults
    for that reason alone.
    """

    values: dict[str, Any]
    given: dict[str, Any]


def with_settings(command: Callable[..., None], **groups: Iterable[Setting]) -> Callable[..., None]:
    """`command` with options in the place of some of its parameters.

    groups: by the name of a parameter, the settings that become options where it stands; they reach
    it as a `Chosen`. The command has a parameter `context` too.
    """
    made = {name: list(settings) for name, settings in groups.items()}
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for own in signature.parameters.values():
        named = own.replace(kind=own.KEYWORD_ONLY)  # typer calls by keyword
        parameters += map(_parameter, made[own.name]) if own.name in made else [named]

    def run(**arguments: Any) -> None:  # noqa: ANN401  (of every type that options have)
        given = given_names(arguments["context"])
        for name, settings in made.items():
            values = {s.keyword: _value(s, arguments.pop(s.keyword)) for s in settings}
            user_gave = {keyword: values[keyword] for keyword in values if keyword in given}
            arguments[name] = Chosen(values, user_gave)
        command(**arguments)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    # What typer reads the options from.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def given_names(context: typer.Context) -> frozenset[str]:
    """The options that the user gave; none that stand at their default."""
    return frozenset(
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT"
    )


def some(settings: Sequence[Setting], *keywords: str, **defaults: Any) -> list[Setting]:  # noqa: ANN401
    """Those `settings` with these keywords, in this order; defaults: where a command has others."""
    by_keyword = {setting.keyword: setting for setting in settings}
    chosen = (by_keyword[keyword] for keyword in (*keywords, *defaults))
    return [
        replace(setting, default=defaults.get(setting.keyword, setting.default))
        for setting in chosen
    ]


def called(setting: Setting, help: str, unset: str | None) -> Setting:  # noqa: A002
    """`setting` with another help, and another word for its default of None."""
    return replace(setting, rule=replace(setting.rule, help=help, unset=unset))


def _parameter(setting: Setting) -> inspect.Parameter:
    """A setting as a parameter that typer makes an option of."""
    rule, default = setting.rule, setting.default
    kind: Any = Literal[setting.choices] if setting.choices else setting.type
    flag = f"--{setting.keyword.replace('_', '-')}"
    if setting.many:
        kind, default = str, ",".join(map(str, default)) or rule.unset
    elif kind is bool and rule.negated:
        flag = f"{flag}/--no-{flag[2:]}"
    shown: Any = True
    if default is None:
        kind, shown = kind | None, rule.unset or False
    elif default is False:
        shown = False
    option = typer.Option(flag, help=rule.help, metavar=rule.metavar, show_default=shown)
    return inspect.Parameter(
        setting.keyword,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, option],
    )


def _value(setting: Setting, value: Any) -> Any:  # noqa: ANN401  (of the setting's type)
    """What the user gave, with a list taken apart. Raises UsageError for an empty one."""
    if not setting.many:
        return value
    words = [word.strip() for word in str(value).split(",") if word.strip()]
    if words == [setting.rule.unset]:
        return ()
    if not words:
        raise UsageError(f"--{setting.keyword.replace('_', '-')} {value!r} names nothing")
    return tuple(words if setting.choices or setting.type is str else map(setting.type, words))
