"""Imports go one way: no module reaches itself again, and rooms know what is theirs to know."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _modules():
    """Every module of the package, by its dotted name."""
    found = {}
    for path in (ROOT / "spectrakit").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imported(name):
    """What the module imports, anywhere in it: for types alone and inside functions, too.

    A name imported from a package is its submodule where it has one of that name.
    """
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


IMPORTS = {name: frozenset(_imported(name)) - {name} for name in MODULES}
OWN = {name: sorted(found & MODULES.keys()) for name, found in IMPORTS.items()}


def _circle(graph):
    """A way along the arrows of `graph` that comes back to where it began; None if none does."""
    done, way = set(), []

    def search(name):
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return None
        way.append(name)
        found = next(filter(None, map(search, graph[name])), None)
        way.pop()
        done.add(name)
        return found

    return next(filter(None, map(search, graph)), None)


def test_no_module_reaches_itself_again():
    circle = _circle(OWN)
    assert circle is None, " -> ".join(circle or ())


def test_a_circle_is_found():
    graph = {"a": ["b"], "b": ["c", "d"], "c": [], "d": ["e"], "e": ["b"]}
    assert _circle(graph) == ["b", "d", "e", "b"]
    assert _circle(graph | {"e": ["c"]}) is None


def _rooms():
    """What each room imports of the package's other rooms, and from elsewhere."""
    found = defaultdict(set)
    for name, imported in IMPORTS.items():
        room = _room(name)
        found[room] |= {_room(each) for each in imported} - {room}
    return found


#: Rooms inside a room: models that are trained are read and built without the trainer.
_ROOMS_WITHIN = tuple(f"spectrakit.training.{room}" for room in ("models", "data", "recipes"))


def _room(module):
    """`spectrakit.dynamics` of all that is in it; a module of the root, or a package, alone."""
    parts = module.split(".")
    if module.startswith(_ROOMS_WITHIN):
        return ".".join(parts[:3])
    return ".".join(parts[:2]) if parts[0] == "spectrakit" else parts[0]


ROOMS = _rooms()
#: The rooms below an analysis, which know nothing of what is asked for and written.
_BELOW = ("dynamics", "mixers", "representations", "scans", "checkpoints", "architectures")
#: Modules that say what a run is, and do it.
_ROAD = ("pipeline", "planning", "forward", "model", "spec", "api", "output", "extraction")


def _of(*rooms):
    return {f"spectrakit.{room}" for room in rooms}


@pytest.mark.parametrize(
    ("rooms", "never"),
    [
        (("dynamics", "mixers", "representations", "scans"), {"transformers", "pyarrow"}),
        (("dynamics", "representations"), _of("mixers", "architectures", "checkpoints")),
        (("mixers",), _of("architectures", "checkpoints")),
        (("checkpoints",), {"transformers"} | _of("architectures", "mixers", "dynamics")),
        (("analyses",), {"transformers", "safetensors"} | _of("checkpoints")),
        (("tables",), {"torch", "transformers"} | _of(*_BELOW, "analyses")),
        (("display",), {"torch", "transformers"} | _of(*_BELOW, "analyses", "comparison")),
        (_BELOW, _of("analyses", "tables", "display", "comparison", "plugins")),
        ((*_BELOW, "analyses", "tables", "display", "report", "plugins"), _of(*_ROAD)),
        (("spec", "settings", "options", "hookspecs", "plugins"), {"torch", "transformers"}),
        (("_version", "errors", "plain", "settings", "progress"), _of("options", *_BELOW)),
    ],
)
def test_what_a_room_never_imports(rooms, never):
    for room in rooms:
        assert not ROOMS[f"spectrakit.{room}"] & never, room


@pytest.mark.parametrize(
    ("room", "importers"),
    [
        ("cli", {"spectrakit.__main__"}),
        (
            "report",
            {"spectrakit.cli", "spectrakit.api", "spectrakit.notebook", "spectrakit.testing"},
        ),
        ("plugin_template", {"spectrakit.cli"}),
    ],
)
def test_who_alone_imports_a_room(room, importers):
    name = f"spectrakit.{room}"
    found = {other for other, rooms in ROOMS.items() if name in rooms}
    assert found <= importers


def test_the_rooms_are_those_of_the_package():
    """A room that is renamed is not forgotten here."""
    named = {*_BELOW, *_ROAD, "analyses", "tables", "display", "report", "plugins", "comparison"}
    assert {f"spectrakit.{room}" for room in named} <= ROOMS.keys()
    assert "torch" in ROOMS["spectrakit.dynamics"]
    assert sys.stdlib_module_names & ROOMS["spectrakit.checkpoints"]
