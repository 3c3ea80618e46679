"""A list as CSV: a header, and a model a row."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.errors import MalformedError, UsageError
from spectrakit.spec_files import all_settings
from spectrakit.wording import did_you_mean
from spectrakit.zoo.listed import Listed, said_at

if TYPE_CHECKING:
    from spectrakit.options import Setting
    from spectrakit.zoo.overrides import Overrides

#: Columns that are no settings.
_OWN = ("model", "name", "revision")
#: What spreadsheets put between cells, by language.
_DELIMITERS = (",", ";", "\t")
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_csv(path: Path, text: str, overrides: Overrides) -> Iterator[Listed]:
    """The rows of a list. An empty cell leaves a setting as the command line has it.

    Columns: model; name and revision, which may be missing; settings by the keywords of `analyze`,
    as seq_len. Of a setting with several values they are separated by commas, in quotes. Cells are
    separated by commas, semicolons or tabs.

    Raises UsageError and MalformedError that name the line.
    """
    first = text.lstrip("\r\n").partition("\n")[0].lower()
    delimiter = max(_DELIMITERS, key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    folder = path.absolute().parent
    columns: list[tuple[str, Setting | None]] = []
    for row in _checked(rows, path):
        if not any(cell.strip() for cell in row):
            continue
        where = partial("{}, line {}".format, path, rows.line_num)
        with said_at(where):
            if not columns:
                columns = _columns(row)
                continue
            listed = _listed(columns, row, overrides, folder)
        yield listed._replace(where=where)


def _checked(rows: Any, path: Path) -> Iterator[list[str]]:  # noqa: ANN401  (csv's reader has no name)
    try:
        yield from rows
    except csv.Error as error:
        message = f"{path}, line {rows.line_num}: not CSV ({error})"
        raise MalformedError(message) from error


def _columns(header: list[str]) -> list[tuple[str, Setting | None]]:
    """What each column holds. Raises UsageError for one that is unknown, twice there or missing."""
    names = [cell.strip().lower().replace("-", "_") for cell in header]
    known = all_settings()
    if "model" not in names:
        near = get_close_matches("model", names, n=1)
        meant = f"is {near[0]!r} meant?" if near else "a first line with names: model,seq_len"
        raise UsageError("no column is called model", hint=meant)
    for name in names:
        if name not in known and name not in _OWN:
            hint = did_you_mean(name, (*_OWN, *known))
            raise UsageError(f"unknown column {name!r}", hint=hint or "spectrakit analyze --help")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"the column {twice[0]} is there twice")
    return [(name, None if name in _OWN else known[name][1]) for name in names]


def _listed(
    columns: list[tuple[str, Setting | None]], row: list[str], overrides: Overrides, folder: Path
) -> Listed:
    """One row. Raises UsageError for a value that is none, and for a row without a model."""
    if len(row) > len(columns):
        message = f"{len(row)} cells, and {len(columns)} columns in the header"
        raise UsageError(message, hint="put a cell with a comma in it into double quotes")
    own: dict[str, str] = {}
    keywords: dict[str, Any] = {}
    for (name, setting), cell in zip(columns, row, strict=False):
        if not cell.strip():
            continue
        if setting is None:
            own[name] = cell.strip()
        else:
            keywords[name] = _value(setting, cell.strip())
    if "model" not in own:
        raise UsageError("the row names no model")
    settings = overrides.of_keywords(keywords, folder)
    return Listed(own["model"], settings, own.get("revision"), own.get("name"), folder)


def _value(setting: Setting, text: str) -> Any:  # noqa: ANN401  (of the setting's type)
    """A cell as a value of its setting's type."""
    if setting.many:
        words = (word.strip() for word in text.split(","))
        return tuple(_one(setting, word) for word in words if word)
    return _one(setting, text)


def _one(setting: Setting, text: str) -> Any:  # noqa: ANN401
    """One value; the text itself where it is none, which the setting's own check refuses."""
    if setting.choices:
        return {str(choice): choice for choice in setting.choices}.get(text, text)
    if setting.type is bool:
        return _BOOLS.get(text.lower(), text)
    try:
        return setting.type(text)
    except ValueError:
        return text
