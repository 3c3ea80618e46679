"""A list as TOML: settings for all models, and models with settings of their own."""

from __future__ import annotations

import dataclasses
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from spectrakit.errors import MalformedError, UsageError
from spectrakit.options import Options
from spectrakit.spec import RunSpec
from spectrakit.spec_files import all_settings
from spectrakit.token_options import TokenOptions
from spectrakit.wording import did_you_mean
from spectrakit.zoo.listed import Listed, said_at, text_or_none
from spectrakit.zoo.overrides import Overrides, merged
from spectrakit.zoo.toml_lines import line_of

_KEYS = frozenset(each.name for each in dataclasses.fields(RunSpec))
_TABLES = ("defaults", "models")
#: tomllib takes time by the square of a key's parts; no key of a list has more than five.
_MOST_DOTS = 64


class _Model(NamedTuple):
    """A model of the list: the path to its table, what the table is called, and its keys."""

    path: tuple[str | int, ...]
    shown: str
    values: Mapping[str, Any]


def read_toml(path: Path, text: str, overrides: Overrides) -> Iterator[Listed]:
    """The models of a list, or the one of a spec file.

    [defaults] has settings for all; [models.NAME], or [[models]] with `model`, those of one. They
    are the keys of spec files. `model` may be left out where NAME is what it would say.

    Raises UsageError and MalformedError that name the line.
    """
    record = _parsed(path, text)
    folder = path.absolute().parent
    defaults: Mapping[str, Any] = {}
    if isinstance(record.get("model"), str):
        models = [_Model((), "the spec", record)]
    else:
        with said_at(partial(str, path)):
            models = list(_models(record))
        defaults = _defaults(path, text, record.get("defaults", {}), overrides)
    for model in models:
        where = partial(_where, path, text, model)
        with said_at(where):
            listed = _listed(model, defaults, overrides, folder)
        yield listed._replace(where=where)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > _MOST_DOTS:
            raise MalformedError(f"{path}, line {number}: more dots than a list has")
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError as error:
        raise MalformedError(f"{path} is nested too deeply for a list") from error
    except ValueError as error:
        message = f"{path} is not TOML: {str(error).splitlines()[0]}"
        hint = None if set("[=") & set(text) else "a list of one model a line ends with .txt"
        raise MalformedError(message, hint=hint) from error


def _models(record: Mapping[str, Any]) -> Iterator[_Model]:
    """The tables of models. Raises UsageError for other keys, and for a list without any."""
    if "family" in record:
        message = "it is a file of the catalog, not a list"
        hint = f"spectrakit batch '*' --family {shlex.quote(str(record['family']))}"
        raise UsageError(message, hint=hint)
    for key in record:
        if key not in _TABLES:
            hint = did_you_mean(key, _TABLES) or "a list has [defaults] and [models.NAME]"
            raise UsageError(f"unknown key {key!r}", hint=hint)
    models = record.get("models")
    if not isinstance(models, Mapping | list) or not models:
        hint = '[models."state-spaces/mamba-130m"]'
        raise UsageError("it names no models", hint=hint)
    if isinstance(models, list):
        for index, value in enumerate(models):
            shown = f"model {index + 1} of [[models]]"
            yield _Model(("models", index), shown, _table(value, shown))
        return
    for name, value in models.items():
        shown = f"[models.{name}]"
        values = _table(value, shown)
        # A name that says which model it is names the run as the model does.
        own = {"name": name, **values} if "model" in values else {**values, "model": name}
        yield _Model(("models", name), shown, own)


def _table(value: object, shown: str) -> Mapping[str, Any]:
    """A model's keys and values; a text alone is the model."""
    if isinstance(value, str):
        return {"model": value}
    if not isinstance(value, Mapping):
        raise UsageError(f"{shown} must be a table, not {value!r}")
    return value


def _listed(
    model: _Model, defaults: Mapping[str, Any], overrides: Overrides, folder: Path
) -> Listed:
    values = dict(model.values)
    target = text_or_none(values.pop("model", None), "model")
    if target is None:
        raise UsageError(f"{model.shown} names no model", hint='model = "tiny-mamba"')
    name = text_or_none(values.pop("name", None), "name")
    own = merged(defaults, values)
    revision = text_or_none(own.pop("revision", None), "revision")
    _check_misplaced(own)
    settings = overrides.of_record(own, folder, model.shown)
    return Listed(target, settings, revision, name, folder)


def _defaults(path: Path, text: str, values: object, overrides: Overrides) -> Mapping[str, Any]:
    """[defaults], checked by themselves, so that a mistake in them is said of them."""
    with said_at(partial(_where, path, text, _Model(("defaults",), "[defaults]", {}))):
        if not isinstance(values, Mapping):
            raise UsageError("defaults must be a table", hint="[defaults]")
        if "model" in values:
            raise UsageError("[defaults] are of all models and name none")
        _check_misplaced(values)
        overrides.check_record(values, path.absolute().parent, "[defaults]")
    return values


def _check_misplaced(values: Mapping[str, Any]) -> None:
    """Raise UsageError for a setting by its keyword, and say where it belongs."""
    for key in values.keys() - _KEYS:
        owner, setting = all_settings().get(key, (Options, None))
        if setting is not None:
            table = "source" if owner is TokenOptions else f"options.{owner.group}"
            message = f"{key} is a key of {table}"
            raise UsageError(message, hint=f"{table}.{setting.name} = {_shown(values[key])}")


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _where(path: Path, text: str, model: _Model) -> str:
    line = line_of(text, model.path)
    return str(path) if line is None else f"{path}, line {line}"
