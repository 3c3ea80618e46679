"""constraints.txt: everything that `make` installs has one version, and it is one we allow."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLUGINS = [
    tomllib.loads(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))
]


def constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins():
    return {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in constraints())
    }


def asked_for():
    """What pyproject.toml names: the dependencies, and those of every group, plugins' included."""
    groups = [group for of in [PROJECT, *PLUGINS] for group in of["dependency-groups"].values()]
    named = [entry for group in groups for entry in group if isinstance(entry, str)]
    return [Requirement(text) for text in [*PROJECT["project"]["dependencies"], *named]]


def needed(requirement, seen):
    """`requirement` and all it needs, as the distributions installed here say."""
    name = canonicalize_name(requirement.name)
    if name in seen:
        return
    seen.add(name)
    try:
        below = [Requirement(text) for text in requires(name) or ()]
    except PackageNotFoundError:
        return  # a linter, where only the tests are installed
    for extra in {"", *requirement.extras}:
        for one in below:
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                needed(one, seen)


@pytest.mark.parametrize("line", constraints())
def test_each_line_is_an_exact_pin_without_a_local_version(line):
    assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line)


@pytest.mark.parametrize("requirement", asked_for(), ids=str)
def test_the_pinned_version_is_one_that_pyproject_allows(requirement):
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_everything_that_is_needed_is_pinned():
    seen = set()
    for requirement in asked_for():
        needed(requirement, seen)
    assert {"torch", "pydantic-core", "iniconfig"} <= seen  # the walk went down
    # A CUDA build of torch brings libraries that torch itself pins.
    unpinned = {
        name for name in seen - pins().keys() if not name.startswith(("nvidia-", "cuda-", "triton"))
    }
    assert not unpinned


def test_ranges_are_not_pins():
    assert not [requirement for requirement in asked_for() if "==" in str(requirement.specifier)]
