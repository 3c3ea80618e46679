"""A `RunSpec` from names and values: a TOML or JSON file, a finished run's record, or keywords."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.errors import MalformedError, UsageError
from spectrakit.options import Options, Setting, settings
from spectrakit.plugins import plugins
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions
from spectrakit.wording import did_you_mean, named

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

    from spectrakit.tables import Manifest

#: No spec is larger; a file that is was meant for something else.
_MOST_BYTES = 1 << 20


def read_spec_file(path: Path) -> tuple[dict[str, Any], Manifest | None]:
    """The keys and values of a spec file, and the record of the run where it is of one.

    It may be TOML, JSON, or the `run.json` of a run. Raises UsageError where there is no such file,
    MalformedError where it is none of these.
    """
    import tomllib

    from spectrakit.tables import Manifest

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise MalformedError(f"{path} is too large for a spec of a run")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the spec {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MalformedError(f"{path} is not UTF-8 text") from error
    is_json = path.suffix == ".json"
    try:
        record = json.loads(text) if is_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{path} is not {'JSON' if is_json else 'TOML'}: {error}"
        raise MalformedError(message.splitlines()[0]) from error
    if not isinstance(record, dict):
        raise MalformedError(f"{path} holds no keys and values")
    if "schema_version" not in record:
        return record, None
    manifest = Manifest.from_json(text)
    if "model" not in manifest.spec:
        message = f"{path} is not of a run of spectrakit analyze"
        raise UsageError(message, hint=manifest.command or None)
    return dict(manifest.spec), manifest


def spec_from(record: Mapping[str, Any], where: str = "the spec") -> RunSpec:
    """The spec that these keys and values say, as `RunSpec.record` writes them.

    where: what they come from, for messages. Raises UsageError for a key that is none, with the
    one that was probably meant, and for a value that is none.
    """
    fields = {each.name for each in dataclasses.fields(RunSpec)}
    _check_keys(record, fields, where)
    if "model" not in record:
        raise UsageError(f"{where} names no model", hint='model = "state-spaces/mamba-130m"')
    found = dict(record)
    groups = plugins().option_groups()
    options = _table(found.pop("options", {}), f"options of {where}")
    _check_keys(options, groups, f"the options of {where}")
    source = _table(found.pop("source", {}), f"source of {where}")
    spec: RunSpec = _validated(
        RunSpec,
        found
        | {
            "source": _validated(TokenOptions, source, f"source of {where}"),
            "options": tuple(
                _validated(groups[name], _table(own, f"options.{name}"), f"options.{name}")
                for name, own in options.items()
            ),
        },
        where,
    )
    return spec


def with_keywords(spec: RunSpec, keywords: Mapping[str, Any]) -> RunSpec:
    """`spec` with settings by the names that users know them by: `seq_len=128, horizon=64`.

    Raises UsageError for a name that is none, with the one that was probably meant, and for a value
    that is none.
    """
    known = all_settings()
    changes: dict[type[Any], dict[str, Any]] = {}
    for keyword, value in keywords.items():
        if keyword not in known:
            message = f"unknown setting {named(keyword)}"
            raise UsageError(message, hint=did_you_mean(keyword, known))
        owner, setting = known[keyword]
        if setting.many:
            several = isinstance(value, Iterable) and not isinstance(value, str)
            value = tuple(value) if several else (value,)
        changes.setdefault(owner, {})[setting.name] = value
    own = changes.pop(RunSpec, {})
    source = replace(spec.source, **changes.pop(TokenOptions, {}))
    options = {type(each): each for each in spec.options}
    for group, values in changes.items():
        options[group] = replace(options.get(group) or group(), **values)
    return replace(spec, **own, source=source, options=tuple(options.values()))


def all_settings() -> dict[str, tuple[type[Any], Setting]]:
    """Every setting of a run by the name that users know it by, with the class that declares it.

    No two share one: see `spectrakit.analysis_registry`.
    """
    return {
        setting.keyword: (owner, setting)
        for owner in (RunSpec, TokenOptions, *plugins().option_groups().values())
        for setting in settings(owner)
    }


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"the {where} must be keys and values, not {value!r}")
    return value


def _check_keys(record: Mapping[str, Any], known: Any, where: str) -> None:  # noqa: ANN401
    for key in record:
        if key not in known:
            raise UsageError(f"unknown key {key!r} in {where}", hint=did_you_mean(key, known))


def _validated(kind: type[Any], values: dict[str, Any], where: str) -> Any:  # noqa: ANN401
    """`kind` made of these values, converted as JSON and TOML need it: lists to tuples."""
    from pydantic import ValidationError

    if issubclass(kind, Options):
        _check_keys(values, {setting.name for setting in settings(kind)}, where)
    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as error:
        raise UsageError(_first(error, where)) from error


def prepare() -> None:
    """Build what every spec needs, so that the next one takes no time."""
    for kind in (RunSpec, TokenOptions):
        _adapter(kind)


#: Building one takes milliseconds, and a list may have a spec a line.
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _first(error: ValidationError, where: str) -> str:
    """The first of the mistakes, in a line."""
    found = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in found["loc"])
    return f"{key} in {where} is {found['input']!r}: {found['msg']}"
