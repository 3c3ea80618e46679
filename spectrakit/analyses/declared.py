"""What is wrong with the declaration of an analysis, so far as that can be told before it runs.

One mistake in it would break commands that have nothing to do with the analysis: options of all
analyses are on the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from spectrakit.analyses.kind import AnalysisKind, InAll, InGauges, Sight
from spectrakit.analyses.running import ALL
from spectrakit.options import Options, Setting, settings
from spectrakit.tables.columns import TableSchema
from spectrakit.wording import named

_OPTION_TYPES = (int, float, bool, str, Path)


def mistake_in(kind: Any) -> str | None:  # noqa: ANN401  (what a plugin hands in)
    """The first mistake, in words; None where there is none."""
    if not isinstance(kind, AnalysisKind):
        return "not an AnalysisKind, by which analyses are declared since SPEC_VERSION 2"
    return next(_mistakes(kind), None)


def _mistakes(kind: Any) -> Iterator[str]:  # noqa: ANN401  (its fields may be anything)
    if not _is_word(kind.name) or kind.name == ALL:
        yield f"{kind.name!r} is not a name that {named('analyses')} could take"
    if not callable(kind.start):
        yield "its start cannot be called"
    if not kind.sees:
        yield "it sees nothing of a model"
    for field, values, known in (
        ("sees", kind.sees, Sight),
        ("in_all", {kind.in_all}, InAll),
        ("in_gauges", {kind.in_gauges}, InGauges),
    ):
        for value in set(values) - set(get_args(known)):
            yield f"its {field} has {value!r}; one of: {', '.join(get_args(known))}"
    if not kind.tables:
        yield "it writes no table"
    for table in kind.tables:
        if not isinstance(table, TableSchema):
            yield f"its table {table!r} is not a TableSchema"
    for group in kind.options:
        yield from _option_mistakes(group)


def _option_mistakes(group: Any) -> Iterator[str]:  # noqa: ANN401  (what a plugin hands in)
    if not (isinstance(group, type) and issubclass(group, Options)):
        yield f"{group!r} is not a class of Options"
        return
    if not _is_word(group.group):
        yield f"the group {group.group!r} of {group.__name__} is not a key of a spec file"
    declared = settings(group)
    named = {setting.name for setting in declared}
    for field in dataclasses.fields(group):
        if field.name not in named:
            yield f"{group.__name__}.{field.name} is declared without option()"
    for setting in declared:
        yield from (f"{group.__name__}.{setting.name} {wrong}" for wrong in _wrong_with(setting))
    try:
        group()
    except Exception as error:  # noqa: BLE001  (its own check may raise anything)
        yield f"the defaults of {group.__name__} are refused: {error}"


def _wrong_with(setting: Setting) -> Iterator[str]:
    if not _is_word(setting.keyword):
        yield f"has a flag that cannot be a keyword: {setting.keyword!r}"
    if setting.type not in _OPTION_TYPES and not setting.choices:
        yield f"is of type {setting.type}; it may be int, float, bool, str, Path or a Literal"


def _is_word(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier()
