"""What plugins and readers of tables rely on, as it is in the code now: names, types, defaults."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

from spectrakit import builtin, hookspecs
from spectrakit.analyses import base as analyses
from spectrakit.analyses import kind
from spectrakit.architectures import base as architectures
from spectrakit.architectures.config_keys import ConfigKeys
from spectrakit.architectures.equations import Departure
from spectrakit.architectures.written_out import WrittenOutModel
from spectrakit.checkpoints import TensorSource
from spectrakit.dynamics import DiscreteEigenvalues, Gauge, Mode, Recurrence, TransitionOperator
from spectrakit.dynamics.recurrence import HeadAxis
from spectrakit.mixers import Mixer, Observation
from spectrakit.options import Help, Options, option
from spectrakit.prompt_sets import Prompt, PromptSet, gold_positions
from spectrakit.registry import Later
from spectrakit.tables import SCHEMA_VERSION, Column, Manifest, Run, Sink, TableSchema
from spectrakit.tables.arrow_arrays import ColumnType
from spectrakit.tables.summary_numbers import Number, SummaryTable
from spectrakit.testing import (
    AnalysisExample,
    CheckpointExample,
    MixerExample,
    parametrize_with_checks,
    random_parameters,
)

#: What a plugin writes and spectrakit calls: what is new here, old plugins lack.
IMPLEMENTED = (
    architectures.Architecture,
    architectures.Adopting,
    architectures.RunnableModel,
    architectures.LanguageModel,
    architectures.DrivenModel,
    Mixer,
    PromptSet,
    TransitionOperator,
    analyses.Analysis,
    analyses.RecurrenceAnalysis,
    analyses.StatesAnalysis,
    analyses.RerunAnalysis,
    analyses.PromptAnalysis,
)
#: What spectrakit provides and a plugin makes, calls or reads: what is new here, no plugin misses.
PROVIDED = (
    kind.AnalysisKind,
    kind.Chart,
    kind.ComparisonChart,
    kind.Compared,
    kind.ComparedColumns,
    analyses.Request,
    analyses.Rerun,
    analyses.RunsPrompts,
    Options,
    Help,
    option,
    Later,
    Column,
    TableSchema,
    Sink,
    Run,
    SummaryTable,
    Number,
    TensorSource,
    architectures.Layer,
    architectures.check_layer_count,
    architectures.check_parameters,
    architectures.positive,
    ConfigKeys,
    Departure,
    WrittenOutModel,
    Observation,
    Recurrence,
    DiscreteEigenvalues,
    Prompt,
    gold_positions,
    MixerExample,
    CheckpointExample,
    AnalysisExample,
    parametrize_with_checks,
    random_parameters,
)
#: Words that fields of these stand for.
WORDS = {
    "Sight": kind.Sight,
    "InAll": kind.InAll,
    "InGauges": kind.InGauges,
    "ColumnType": ColumnType,
    "Gauge": Gauge,
    "HeadAxis": HeadAxis,
    "Mode": Mode,
}
#: How the description of a parameter or a field ends that cannot be left out.
REQUIRED = ", required"

#: By section, then by what it is of, then by member: a description of each.
Interfaces = dict[str, dict[str, dict[str, str]]]


def spec() -> dict[str, Any]:
    """What `SPEC_VERSION` is the version of."""
    hooks = [thing for thing in vars(hookspecs).values() if hasattr(thing, "spectrakit_spec")]
    sections: Interfaces = {
        "hooks": {hook.__name__: dict(_parameters(hook)) for hook in hooks},
        "implemented": {each.__name__: dict(sorted(_members(each))) for each in IMPLEMENTED},
        "provided": {each.__name__: dict(sorted(_members(each))) for each in PROVIDED},
        "words": {name: dict.fromkeys(get_args(words), "a word") for name, words in WORDS.items()},
    }
    return {"version": hookspecs.SPEC_VERSION, **sections}


def schema() -> dict[str, Any]:
    """What `SCHEMA_VERSION` is the version of: the tables, and the keys of `run.json`."""
    sections: Interfaces = {
        "tables": {
            table.name: {column.name: _column(column) for column in table.all_columns}
            for table in builtin.TABLES
        },
        "record": {"run.json": {f.name: _text(f.type) for f in dataclasses.fields(Manifest)}},
    }
    return {"version": SCHEMA_VERSION, **sections}


def _column(column: Column) -> str:
    unit = f" [{column.unit}]" if column.unit else ""
    return f"{column.type}{unit}{', may be null' if column.nullable else ''}"


def _members(owner: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(owner, type):
        yield from _parameters(owner)
        return
    for base in reversed(owner.__mro__):
        if base.__module__.partition(".")[0] == "spectrakit":
            yield from _own_members(base)


def _own_members(owner: type) -> Iterator[tuple[str, str]]:
    fields = dataclasses.fields(owner) if "__dataclass_fields__" in vars(owner) else ()
    by_place = [field.name for field in fields if field.init and not field.kw_only]
    for field in fields:
        if not field.name.startswith("_"):
            place = f"{by_place.index(field.name)}: " if field.name in by_place else ""
            yield field.name, place + _text(field.type) + _default(field)
    known = {field.name for field in fields}
    for name, annotation in inspect.get_annotations(owner).items():
        if name not in known and not name.startswith("_"):
            yield name, _text(annotation)
    for name, thing in vars(owner).items():
        if name in known or (name.startswith("_") and (fields or name not in _SPECIAL)):
            continue
        if isinstance(thing, property):
            yield name, f"-> {_text(thing.fget.__annotations__.get('return'))}"
            continue
        function = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
        if inspect.isfunction(function) and function.__module__ == owner.__module__:
            yield from ((f"{name}{each}", said) for each, said in _parameters(function))


#: Methods that are called without their names.
_SPECIAL = ("__init__", "__call__")


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """What it returns, as "()", and each of its parameters, as "(name)", with its place."""
    signature = inspect.signature(function)
    yield "()", f"-> {_text(signature.return_annotation)}"
    own = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    for place, parameter in enumerate(own):
        said = _text(parameter.annotation)
        if parameter.kind in _STARS:
            said = _STARS[parameter.kind] + said
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            said = f"{place}: {said}"
        if parameter.default is not parameter.empty:
            said += f" = {parameter.default!r}"
        elif parameter.kind not in _STARS:
            said += REQUIRED
        yield f"({parameter.name})", said


_STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        default = field.default
        return f" = {default.__name__ if callable(default) else repr(default)}"
    return REQUIRED if field.default_factory is dataclasses.MISSING else " = made anew"


def _text(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    return "None" if annotation is None else getattr(annotation, "__name__", "?")
