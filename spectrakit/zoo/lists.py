"""List files: plain text, CSV and TOML, and a spec file, which is a list of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.errors import UsageError
from spectrakit.spec_files import read_spec_file
from spectrakit.zoo.csv_lists import read_csv
from spectrakit.zoo.list_text import read_text
from spectrakit.zoo.listed import Listed, said_at, text_or_none
from spectrakit.zoo.toml_lists import read_toml

if TYPE_CHECKING:
    from spectrakit.zoo.overrides import Overrides

#: More than any path or repository has.
_LONGEST_LINE = 4096
_TABLES = (".csv", ".tsv")
_COMMENT = re.compile(r"(?:^|\s)#")


def read_list(path: Path, overrides: Overrides) -> Iterator[Listed]:
    """What a list file says, model by model.

    By the end of its name it is CSV, TOML or JSON (a spec file, or a run's run.json); any other is
    plain text with one model a line. Relative paths begin in the list's folder.

    Raises UsageError and MalformedError that name the line.
    """
    if path.suffix.lower() == ".json":
        yield _of_spec(path, *read_spec_file(path), overrides)
        return
    text = read_text(path)
    if path.suffix.lower() in _TABLES:
        yield from read_csv(path, text, overrides)
    elif path.suffix.lower() == ".toml":
        yield from read_toml(path, text, overrides)
    else:
        yield from _plain_text(path, text, overrides)


def _plain_text(path: Path, text: str, overrides: Overrides) -> Iterator[Listed]:
    """One model a line; what follows a `#` at its begin, or after white space, is a comment."""
    folder = path.absolute().parent
    for number, line in enumerate(text.split("\n"), start=1):
        where = partial("{}, line {}".format, path, number)
        if len(line) > _LONGEST_LINE:
            message = f"{where()}: {len(line):,} characters are not a model"
            raise UsageError(message, hint="one model a line")
        target = _without_comment(line)
        if target:
            yield Listed(target, overrides.base, folder=folder, where=where)


def _without_comment(line: str) -> str:
    return _COMMENT.split(line, maxsplit=1)[0].strip()


def _of_spec(
    path: Path, record: dict[str, Any], manifest: object | None, overrides: Overrides
) -> Listed:
    """A spec file, or the record of a run: one model, with all the settings that are in it."""
    if getattr(manifest, "source", "") == "memory":
        message = f"{path} is of a run of a model in memory, which cannot be opened again"
        raise UsageError(message, hint="give the checkpoint it was made of")
    folder = path.absolute().parent
    with said_at(partial(str, path)):
        model = text_or_none(record.pop("model", None), "model")
        revision = text_or_none(record.pop("revision", None), "revision")
        if model is None:
            hint = "lists are plain text, .csv or .toml; a .json file is the spec of one run"
            raise UsageError("it names no model", hint=hint)
        settings = overrides.of_record(record, folder, "the spec")
    return Listed(model, settings, revision, folder=folder, where=partial(str, path))
