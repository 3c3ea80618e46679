"""Registering an analysis: a declaration that would get in the way of others is refused."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

from spectrakit import api, builtin
from spectrakit.analyses.kind import AnalysisKind, Chart, ComparisonChart
from spectrakit.analysis_registry import RESERVED, AnalysisRegistry
from spectrakit.cli.app import build_app
from spectrakit.options import Options, option
from spectrakit.plugins import Plugins
from spectrakit.registry import Later, PluginInfo
from spectrakit.spec_files import all_settings
from spectrakit.tables import Column, TableSchema

TABLE = TableSchema("mine", "a layer", (Column("layer", "int32", "Index of the layer."),))
OTHER_TABLE = replace(TABLE, columns=(*TABLE.columns, Column("more", "int32", "More.")))
PLUGIN, OTHER = PluginInfo("a", "dist-a", "1"), PluginInfo("b", "dist-b", "1")


def nothing(*_arguments):
    """Stands for whatever is called later."""


@dataclass(frozen=True)
class MineOptions(Options):
    group: ClassVar[str] = "mine"

    steps: int = option(3, "Steps.", at_least=1)


def kind(**changes):
    words = {"name": "mine", "start": nothing, "sees": frozenset({"states"}), "tables": (TABLE,)}
    return AnalysisKind(**(words | changes))


def registry(*kinds):
    found = AnalysisRegistry()
    for each in kinds:
        found.add(found.check(each), each, PLUGIN)
    return found


def declares(name, **fields):
    """A class of options with these fields, whose types are those of their defaults."""
    body = {"__annotations__": {key: type(each.default) for key, each in fields.items()}, **fields}
    body["group"] = name
    body["__annotations__"]["group"] = ClassVar[str]
    return dataclass(frozen=True)(type(f"{name.title()}Options", (Options,), body))


# ---- what an analysis declares by itself ------------------------------------------------------


class OldClass:
    name = "old"
    in_all = "never"

    def __init__(self, sink, request): ...


WRONG = {
    "an analysis of SPEC_VERSION 1": (OldClass, "not an AnalysisKind, by which"),
    "a name with a comma": (kind(name="a,b"), "'a,b' is not a name that analyses could take"),
    "the name of all of them": (kind(name="all"), "'all' is not a name"),
    "nothing seen": (kind(sees=frozenset()), "it sees nothing"),
    "a sight that there is not": (kind(sees=frozenset({"layers"})), "sees has 'layers'; one of"),
    "a word that there is not": (kind(in_all="often"), "its in_all has 'often'; one of: always"),
    "no table": (kind(tables=()), "it writes no table"),
    "a table by name": (kind(tables=("mine",)), "its table 'mine' is not a TableSchema"),
    "options by value": (kind(options=(MineOptions(),)), "is not a class of Options"),
    "options without a group": (kind(options=(declares(""),)), "the group '' of"),
    "an option of another type": (
        kind(options=(declares("mine", steps=option(b"", "Steps.")),)), "type <class 'bytes'>",
    ),
    "an option that is none": (
        kind(options=(declares("mine", steps=field(default=3)),)), "declared without option()",
    ),
    "a default that is refused": (
        kind(options=(declares("mine", steps=option(0, "Steps.", at_least=1)),)),
        "defaults of MineOptions are refused: mine_steps must be at least 1, not 0",
    ),
    "a flag with dashes": (
        kind(options=(declares("mine", steps=option(0, "Steps.", flag="my-steps")),)),
        "a flag that cannot be a keyword: 'my-steps'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_refuses_what_would_break_a_command(what):
    thing, message = WRONG[what]
    with pytest.raises(TypeError) as error:
        AnalysisRegistry().check(thing)
    assert message in str(error.value)


@pytest.mark.parametrize("thing", [analysis.KIND for analysis in builtin.ANALYSES], ids=repr)
def test_takes_the_analyses_of_spectrakit(thing):
    assert AnalysisRegistry().check(thing) == thing.name


# ---- what another has declared ----------------------------------------------------------------

CLASHES = {
    "a table": ({"tables": (OTHER_TABLE,)}, {}, "the table 'mine'"),
    "options": (
        {"options": (declares("mine", other=option(3, "Steps.")),)},
        {"options": (MineOptions,)}, "the options 'mine'",
    ),
    "an option": (
        {"options": (declares("other", steps=option(3, "Steps.", flag="mine_steps")),)},
        {"options": (MineOptions,)}, "the option 'mine_steps'",
    ),
    "the opposite of an option": (
        {"options": (declares("other", no=option(3, "Steps.", flag="no_mine_fast")),)},
        {"options": (declares("mine", fast=option(False, "Fast.")),)}, "the option 'no_mine_fast'",
    ),
    "a chart": (
        {"charts": (Chart(name="mine", table="mine", draw=Later("a:draw")),)},
        {"charts": (Chart(name="mine", table="mine", draw=Later("b:draw")),)}, "the chart 'mine'",
    ),
    "a chart of comparisons": (
        {"comparison_charts": (ComparisonChart(name="mine", draw=Later("a:draw")),)},
        {"comparison_charts": (ComparisonChart(name="mine", draw=Later("b:draw")),)},
        "the chart 'mine' of comparisons",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CLASHES)
def test_refuses_what_another_has(what):
    changes, first, said = CLASHES[what]
    analyses = registry(kind(**first))
    with pytest.raises(ValueError, match="call it something else") as error:
        analyses.add("other", kind(name="other", **changes), OTHER)
    assert f"analysis 'other' of dist-b declares {said}, which dist-a declares" in str(error.value)
    assert set(analyses.things) == {"mine"}


OF_EVERY_RUN = {
    "an option of a run": {"options": (declares("mine", x=option(3, "X.", flag="seed")),)},
    "an option of tokens": {"options": (declares("mine", x=option(3, "X.", flag="seq_len")),)},
    "a flag of the command": {"options": (declares("mine", x=option(3, "X.", flag="out")),)},
    "the options of tokens": {"options": (declares("source", x=option(3, "X.")),)},
    "the table of layers": {"tables": (replace(TABLE, name="layers"),)},
}


@pytest.mark.parametrize("what", OF_EVERY_RUN)
def test_refuses_what_every_run_has(what):
    with pytest.raises(ValueError, match="which spectrakit declares otherwise"):
        AnalysisRegistry().add("mine", kind(**OF_EVERY_RUN[what]), PLUGIN)


def test_options_and_tables_may_be_shared():
    analyses = registry(kind(options=(MineOptions,)))
    analyses.add("other", kind(name="other", options=(MineOptions,)), OTHER)
    assert set(analyses.things) == {"mine", "other"}


def test_one_that_takes_the_place_of_another_may_declare_the_same_names():
    analyses = registry(kind(options=(MineOptions,)))
    options = declares("mine", steps=option(5, "Steps."))
    better = kind(override=True, tables=(OTHER_TABLE,), options=(options,))
    analyses.add("mine", better, OTHER)
    assert analyses["mine"] is better


def test_the_reserved_names_are_those_of_the_command_and_of_python():
    (analyze,) = [c for c in build_app().registered_commands if c.name == "analyze"]
    settings = set(all_settings())
    names = set(inspect.signature(analyze.callback).parameters) - settings
    names |= set(inspect.signature(api.analyze).parameters) - {"settings"}
    assert names <= RESERVED


# ---- from an installed plugin -----------------------------------------------------------------

CODE = """
from dataclasses import dataclass
from typing import ClassVar
from spectrakit import hookimpl
from spectrakit.analyses.kind import AnalysisKind
from spectrakit.options import Options, option
from spectrakit.tables import Column, TableSchema

@dataclass(frozen=True)
class Own(Options):
    group: ClassVar[str] = "own"
    horizon: int = option(3, "Delays.", flag="horizon")

@hookimpl
def register_analyses(register):
    table = TableSchema("own", "a layer", (Column("layer", "int32", "Index."),))
    register(AnalysisKind(name="own", start=print, sees=frozenset({"states"}), tables=(table,),
                          options=(Own,)))
"""


def test_it_is_an_error_of_that_plugin_alone(tmp_path, monkeypatch):
    (tmp_path / "own_plugin.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("own", "own_plugin", "spectrakit")
    vars(point)["dist"] = type("Distribution", (), {"name": "dist-own", "version": "1"})()
    plugins = Plugins([point]).register()
    monkeypatch.delitem(sys.modules, "own_plugin")
    (found,) = plugins.named("own")
    assert found.error == (
        "ValueError: analysis 'own' of dist-own declares the option 'horizon', which spectrakit "
        "declares otherwise; call it something else"
    )
    assert set(plugins.analyses.things) == {analysis.KIND.name for analysis in builtin.ANALYSES}
    assert plugins.named("spectrakit")[0].error is None
