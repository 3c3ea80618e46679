"""Functions that others call take few enough arguments to be read at a glance."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = (*ROOT.glob("spectrakit/**/*.py"), *ROOT.glob("plugins/*/spectrakit_*/**/*.py"))
MOST = 8


def test_no_public_function_has_a_long_argument_list():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    found = {
        f"{path.relative_to(ROOT)}: {name}": count
        for path, tree in trees.items()
        for name, count in _public(tree)
    }
    assert len(found) > 1000
    assert {name: count for name, count in found.items() if count > MOST} == {}


def test_arguments_are_counted():
    source = (
        "def f(a, /, b, *c, d=1, **e): ...\n"
        "def _g(a): ...\n"
        "class A:\n"
        "    def __init__(self, a, b): ...\n"
        "    def _h(self): ...\n"
        "    @classmethod\n"
        "    def i(cls, *, a): ...\n"
    )
    assert list(_public(ast.parse(source))) == [("f", 5), ("__init__", 2), ("i", 1)]


def _public(tree):
    """The public functions and methods in `tree`, and how many arguments each takes."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") and not node.name.startswith("__"):
            continue
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        own = [argument for argument in named if argument.arg not in {"self", "cls"}]
        yield node.name, len(own) + (arguments.vararg is not None) + (arguments.kwarg is not None)
