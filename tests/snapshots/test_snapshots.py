"""Hooks, protocols and tables are those of their version's snapshot; the rule that keeps it so."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from tests.snapshots.__main__ import main
from tests.snapshots.committed import KINDS, Kind, Snapshot
from tests.snapshots.differences import differences

SPEC = {
    "version": 1,
    "hooks": {"register_mixers": {"()": "-> None", "(register)": "0: Callable, required"}},
    "implemented": {"Mixer": {"name": "str", "shapes()": "-> dict"}},
    "provided": {
        "Chart": {"name": "str, required"},
        "option": {"()": "-> Any", "(default)": "0: Any, required"},
        "Request": {"options()": "-> O", "options(kind)": "0: type, required"},
    },
    "tables": {"layers": {"layer": "int32"}},
}
REQUIRED, OPTIONAL = "1: int, required", "int = 0"

#: What is put where (or taken away, for None), and whether a plugin or a reader no longer works.
CHANGES = {
    "a hook is gone": (("hooks", "register_mixers"), None, True),
    "a hook is new": (("hooks", "register_more"), {"()": "-> None"}, False),
    "a hook has another argument": (("hooks", "register_mixers", "(more)"), REQUIRED, False),
    "a hook's argument is gone": (("hooks", "register_mixers", "(register)"), None, True),
    "a protocol is new": (("implemented", "Other"), {"name": "str"}, False),
    "a protocol asks for more": (("implemented", "Mixer", "heads"), "-> int", True),
    "a protocol hands in more": (("implemented", "Mixer", "shapes(more)"), REQUIRED, True),
    "a member is of another type": (("implemented", "Mixer", "name"), "int", True),
    "a field may be given": (("provided", "Chart", "more"), OPTIONAL, False),
    "a field must be given": (("provided", "Chart", "more"), REQUIRED, True),
    "a field is gone": (("provided", "Chart", "name"), None, True),
    "an argument may be given": (("provided", "option", "(more)"), OPTIONAL, False),
    "an argument must be given": (("provided", "option", "(more)"), REQUIRED, True),
    "an argument of a method must be given": (
        ("provided", "Request", "options(more)"), REQUIRED, True,
    ),
    "a table is new": (("tables", "spectrum"), {"layer": "int32"}, False),
    "a table is gone": (("tables", "layers"), None, True),
    "a column is new": (("tables", "layers", "kind"), "string", False),
    "a column is gone": (("tables", "layers", "layer"), None, True),
    "a column may be null": (("tables", "layers", "layer"), "int32, may be null", True),
    "a column has a unit": (("tables", "layers", "layer"), "int32 [token]", True),
}  # fmt: skip


def changed(what):
    """`SPEC` with one of the changes."""
    (*path, last), value, _ = CHANGES[what]
    snapshot = deepcopy(SPEC)
    inner = snapshot
    for key in path:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return snapshot


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_code_is_what_the_snapshot_says(kind):
    assert (wrong := Snapshot(kind).wrong()) is None, wrong


@pytest.mark.parametrize("what", CHANGES)
def test_what_breaks_others_is_told_from_what_is_added(what):
    found = differences(SPEC, changed(what))
    listed, none = found.breaking, found.added
    if not CHANGES[what][2]:
        listed, none = none, listed
    assert (len(listed), len(none)) == (1, 0), found
    assert ".".join(CHANGES[what][0][1:3]) in listed[0]


def test_a_method_that_is_new_may_ask_for_what_it_likes():
    snapshot = deepcopy(SPEC)
    snapshot["provided"]["Request"] |= {"more()": "-> int", "more(what)": REQUIRED}
    assert differences(SPEC, snapshot).breaking == ()


@pytest.fixture
def snapshot(tmp_path):
    """`snapshot(now)`: in a folder that has `SPEC` at version 1."""
    (tmp_path / "spec_1.json").write_text(json.dumps(SPEC))

    def of(now):
        return Snapshot(Kind("spec", "SPEC_VERSION in a file", lambda: now), tmp_path)

    return of


def test_says_what_changed_and_what_to_do(snapshot):
    assert snapshot(SPEC).wrong() is None
    added = snapshot(changed("a hook is new"))
    assert added.wrong() == (
        "spec_1.json lacks what was added, which breaks nothing:\n  register_more is new\n"
        "python -m tests.snapshots --write"
    )
    assert not added.needs_another_version
    broken = snapshot(changed("a field is gone"))
    assert broken.wrong().startswith(
        "what spec_1.json promises no longer holds:\n  Chart.name is gone\n"
        "Raise SPEC_VERSION in a file, "
    )
    assert broken.needs_another_version


def test_another_version_takes_the_place_of_the_one_before(snapshot, tmp_path):
    raised = snapshot(changed("a field is gone") | {"version": 2})
    assert "spec_2.json is to be the only snapshot, there is spec_1.json" in raised.wrong()
    assert not raised.needs_another_version
    raised.write()
    assert [path.name for path in tmp_path.iterdir()] == ["spec_2.json"]
    assert raised.wrong() is None


def test_writing_refuses_what_needs_another_version(snapshot, monkeypatch, capsys):
    broken = snapshot(changed("a field is gone"))
    monkeypatch.setattr("tests.snapshots.__main__.KINDS", (broken.kind,))
    monkeypatch.setattr("tests.snapshots.__main__.Snapshot", lambda kind: broken)
    monkeypatch.setattr("sys.argv", ["snapshots", "--write"])
    assert main() == 1
    assert "Chart.name is gone" in capsys.readouterr().err
    assert json.loads(broken.path.read_text()) == SPEC
    monkeypatch.setattr("sys.argv", ["snapshots", "--write", "--unreleased"])
    assert main() == 0
    assert broken.wrong() is None
