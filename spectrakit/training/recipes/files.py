"""Recipes from files: TOML, one upon the other by `extends`, changed by KEY=VALUE."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spectrakit.catalog.places import folder
from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.recipes.lines import line_of
from spectrakit.training.recipes.schema import Recipe
from spectrakit.wording import did_you_mean, per_door

#: No recipe is larger, or rests on more others.
_MOST_BYTES, _MOST_FILES = 1 << 20, 16
#: What a run writes its recipe to.
RECIPE = "recipe.toml"


def recipes_folder() -> Path:
    """Where the recipes are that ship with spectrakit."""
    return folder() / "recipes"


def recipe_names() -> tuple[str, ...]:
    """The recipes that ship, by the names that `read_recipe` takes."""
    root = recipes_folder()
    return tuple(
        sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.toml"))
    )


def read_recipe(name: str | Path, changes: Sequence[str] | Mapping[str, Any] = ()) -> Recipe:
    """The recipe in a file, in a run's folder, or of a name that ships with spectrakit.

    changes: "model.width=128" as TOML has values, or a mapping of dotted keys.

    Raises UsageError where there is none, or a key or value is none, with its file and line;
    MalformedError where a file is no TOML.
    """
    path = find(name)
    table, sources = _merged(path)
    return validated(changed(table, changes), sources)


def changed(
    table: dict[str, Any], changes: Sequence[str] | Mapping[str, Any] = ()
) -> dict[str, Any]:
    """`table` with changes put over it; see `read_recipe`. Raises UsageError."""
    for key, value in _changes(changes):
        _put(table, key, value)
    return table


def validated(table: dict[str, Any], sources: Sequence[tuple[Path, str]] = ()) -> Recipe:
    """A recipe of these keys and values; sources: files and texts to find a mistake's line in.

    Raises UsageError.
    """
    try:
        return Recipe.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise _mistake(error, sources) from None


def find(name: str | Path) -> Path:
    """The file that a name stands for. Raises UsageError where there is none."""
    given = Path(name).expanduser()
    for candidate in (given, given / RECIPE):
        if candidate.is_file():
            return candidate
    text = str(name)
    if text in recipe_names():
        return recipes_folder() / f"{text}.toml"
    message = f"there is no recipe {text!r}: no file, and none that ships with spectrakit"
    raise UsageError(message, hint=did_you_mean(text, recipe_names()) or "spectrakit train --list")


def _merged(path: Path) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """A recipe's table over those it extends, and the files, its own first."""
    chain: list[tuple[Path, str, dict[str, Any]]] = []
    following: Path | None = path
    while following is not None:
        if following.resolve() in [seen.resolve() for seen, _, _ in chain]:
            raise UsageError(f"{path} extends itself, by way of {chain[-1][0]}")
        if len(chain) == _MOST_FILES:
            raise UsageError(f"{path} extends more than {_MOST_FILES} recipes in a row")
        text, table = _read(following)
        chain.append((following, text, table))
        base = table.pop("extends", None)
        following = None if base is None else _base(base, following)
    whole: dict[str, Any] = {}
    for _, _, table in reversed(chain):
        _merge(whole, table)
    return whole, [(where, text) for where, text, _ in chain]


def _base(base: object, path: Path) -> Path:
    if not isinstance(base, str):
        raise UsageError(f"{path}: extends is {base!r}, not a name or a path")
    beside = path.parent / base
    return beside if beside.is_file() else find(base)


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise MalformedError(f"{path} is too large for a recipe")
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MalformedError(f"{path} is not UTF-8 text") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise MalformedError(f"{path} is not TOML: {error}".splitlines()[0]) from error


def _merge(whole: dict[str, Any], table: Mapping[str, Any]) -> None:
    """Put `table` over `whole`: tables key by key; another task or mixer starts anew."""
    for key, value in table.items():
        own = whole.get(key)
        if not (isinstance(own, dict) and isinstance(value, dict)):
            whole[key] = value
        elif key in ("task", "mixer") and value.get("name", own.get("name")) != own.get("name"):
            whole[key] = dict(value)  # options of another are none of its own
        elif key == "budget" and {"steps", "epochs"} & value.keys():
            kept = {k: v for k, v in own.items() if k not in ("steps", "epochs")}
            whole[key] = kept | value
        else:
            _merge(own, value)


def _changes(changes: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(changes, Mapping):
        yield from changes.items()
        return
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", key.strip()):
            message = f"{change!r} does not set anything"
            raise UsageError(
                message, hint=per_door("--set model.width=128", 'changes={"model.width": 128}')
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()  # a word needs no quotation marks on a command line
        yield key.strip(), value


def _put(table: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401  (any of TOML's)
    *tables, last = key.split(".")
    wrapped: dict[str, Any] = {last: value}
    for name in reversed(tables):
        wrapped = {name: wrapped}
    _merge(table, wrapped)


def _mistake(error: ValidationError, sources: Sequence[tuple[Path, str]]) -> UsageError:
    """The first mistake: where it is, what is wrong with it, what may have been meant."""
    found = error.errors(include_url=False)[0]
    location = [str(part) for part in found["loc"]]
    key = ".".join(location)
    where = _where(location, sources)
    if found["type"] == "extra_forbidden":
        known = _known(location[:-1])
        hint = did_you_mean(location[-1], known) or f"one of: {', '.join(known)}"
        return UsageError(f"{where}unknown key {key!r}", hint=hint)
    said = str(found["msg"]).removeprefix("Value error, ")
    value = found.get("input")
    shown = f" is {value!r}" if isinstance(value, str | int | float | bool) else ""
    named = f"{key}{shown}: " if key else ""
    return UsageError(f"{where}{named}{said[:1].lower()}{said[1:]}",
                      hint="spectrakit train --schema shows every key")  # fmt: skip


def _where(location: Sequence[str], sources: Sequence[tuple[Path, str]]) -> str:
    for path, text in sources:
        line = line_of(text, location)
        if line is not None:
            return f"{path}, line {line}: "
    return f"{sources[0][0]}: " if sources and not location else ""


def _known(location: Sequence[str]) -> tuple[str, ...]:
    kind: Any = Recipe
    for part in location:
        kind = kind.model_fields[part].annotation
    fields = tuple(kind.model_fields)
    return ("extends", *fields) if kind is Recipe else fields
