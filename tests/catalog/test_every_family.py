"""Every family that spectrakit and its plugins read is in the catalog, or it says why not.

A family is called by its `model_type`, or else by the architecture that reads it, as
docs/coverage.md has them.
"""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import replace

import pytest

from docs.refresh import ROOT
from spectrakit import catalog
from spectrakit.plugins import plugins

PAGE = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if path.is_dir())

#: `model_type`s of architectures that claim by them and do not declare them.
_CLAIMED = {"fla-mamba3": ("mamba3",), "fla-linear-attention": ("retnet", "linear_attn")}


def _column(heading):
    """The first column of the last table under a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def wanted():
    """Families, each as the names that a file of it may have."""
    found = [(model_type,) for model_type in _column("Models of transformers")]
    things = plugins().register().architectures.things
    found += [_names(things[name].thing) for name in _column("Checkpoints")]
    for name in PLUGINS:
        found += _of_plugin(name)
    return list(dict.fromkeys(found))


def _names(architecture):
    """What a file may be called that has a model of this architecture."""
    declared = getattr(architecture, "model_types", _CLAIMED.get(architecture.name, ()))
    return (architecture.name, *declared)


def _of_plugin(distribution):
    """The families of one of the plugins in this repository, whether it is installed or not."""
    sys.path.insert(0, str(ROOT / "plugins" / distribution))
    try:
        module = importlib.import_module(distribution.replace("-", "_"))
        architectures = []
        module.register_architectures(architectures.append)
        for architecture in architectures:
            families = getattr(sys.modules[type(architecture).__module__], "FAMILIES", None)
            if families is not None:
                yield from ((family.model_type,) for family in families)
            else:
                yield _names(architecture)
    finally:
        sys.path.pop(0)


def families_without_entry():
    """Families without a smallest public model in the catalog that do not say why either."""
    done = {
        family.name
        for family in catalog.families()
        if family.no_public_model or any(entry.smallest for entry in family.entries)
    }
    return sorted(names[0] for names in wanted() if not done.intersection(names))


def test_the_page_and_the_plugins_are_read():
    flat = {name for names in wanted() for name in names}
    model_types = set(_column("Models of transformers"))
    assert len(model_types) > 90
    assert {"mamba", "openai-gpt", "zamba2", "qwen3_5_text"} <= model_types
    assert {"mamba-ssm", "rwkv-files", "s5", "transformers-encoder"} <= set(_column("Checkpoints"))
    assert {"gla", "kda", "rwkv7", "mamba3", "mamba-ssm-mamba3"} <= flat
    assert PLUGINS == ["spectrakit-fla", "spectrakit-mamba3", "spectrakit-rwkv"]


def test_every_family_has_its_smallest_public_model_or_says_why_not():
    assert families_without_entry() == []


def test_a_family_without_one_is_found(monkeypatch):
    found = {family.name: family for family in catalog.families()}
    assert "mamba-ssm" not in families_without_entry()
    no_smallest = [replace(entry, smallest=False) for entry in found["mamba-ssm"].entries]
    changed = replace(found["mamba-ssm"], entries=tuple(no_smallest))
    monkeypatch.setattr(catalog, "families", lambda: (changed,))
    assert {"mamba-ssm", "mamba"} <= set(families_without_entry())
    monkeypatch.setattr(catalog, "families", lambda: (replace(changed, no_public_model="why"),))
    assert "mamba-ssm" not in families_without_entry()


@pytest.mark.parametrize("family", catalog.families(), ids=lambda family: family.name)
def test_every_file_is_of_a_family_that_is_read(family):
    assert family.name in {name for names in wanted() for name in names}
