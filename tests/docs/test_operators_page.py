"""docs/operators.md: every operator and map, with the fields that it has."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Protocol

import pytest

from docs.refresh import ROOT
from spectrakit import dynamics
from spectrakit.scans import parallel

PAGE = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
PROTOCOLS = {
    "Operators": dynamics.TransitionOperator,
    "Input maps": dynamics.InputMap,
    "Output maps": dynamics.OutputMap,
}


def rows(section):
    """The rows of a section's table, by the name in the first cell."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return {re.match(r"\| `(\w+)`", line)[1]: line for line in lines}


def members(protocol):
    return {
        name for name, member in vars(protocol).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    }  # fmt: skip


def exported(protocol):
    """Classes of `spectrakit.dynamics` that have the protocol's methods, and no others."""
    others = [
        other for other in PROTOCOLS.values()
        if other is not protocol and not members(other) <= members(protocol)
    ]  # fmt: skip
    return {
        name for name in dynamics.__all__
        if inspect.isclass(thing := getattr(dynamics, name))
        and dataclasses.is_dataclass(thing)
        and all(hasattr(thing, member) or member in fields(thing) for member in members(protocol))
        and not any(members(other) <= set(dir(thing)) for other in others)
    }  # fmt: skip


def fields(thing):
    return {field.name for field in dataclasses.fields(thing) if field.init}


@pytest.mark.parametrize("section", PROTOCOLS)
def test_all_of_a_kind_are_listed(section):
    assert issubclass(PROTOCOLS[section], Protocol)
    assert rows(section).keys() == exported(PROTOCOLS[section])


@pytest.mark.parametrize("section", PROTOCOLS)
def test_the_fields_are_those_of_the_class(section):
    for name, row in rows(section).items():
        cell = row.split(" | ")[2]
        assert set(re.findall(r"`(\w+)`", cell)) == fields(getattr(dynamics, name)), name


def test_the_parallel_forms_are_those_that_there_are():
    registered = {kind.__name__ for kind in parallel.in_parallel.registry if kind is not object}
    assert rows("Trained in parallel").keys() == registered
