"""A plugin from the template, changed and installed for real: in a folder with its metadata."""

from __future__ import annotations

import sys

import pytest

from spectrakit import plugins as manager
from spectrakit.plugin_template import Words, write_plugin
from spectrakit.training.models import builders

DEMO = Words("demo")


def forget_plugins():
    """Let the next caller find the plugins anew, and import them anew."""
    manager.installed_points.cache_clear()
    manager.plugins.cache_clear()
    builders._BUILDERS.pop(DEMO.kind, None)
    for name in list(sys.modules):
        if name.partition(".")[0] == DEMO.package:
            del sys.modules[name]


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """`demo({"mixer.py": (old, new)})` installs the template's plugin with these changes."""

    def install(changes=None):
        site = write_plugin(DEMO.name, tmp_path)[0].parent
        for file, (old, new) in (changes or {}).items():
            path = site / DEMO.package / file
            text = path.read_text()
            assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
            path.write_text(text.replace(old, new))
        metadata = site / f"{DEMO.package}-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {DEMO.distribution}\nVersion: 0.1.0\n")
        (metadata / "entry_points.txt").write_text(f"[spectrakit]\ndemo = {DEMO.package}\n")
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("PYTHONPATH", str(site))  # for processes that checks start
        monkeypatch.setenv("SPECTRAKIT_LOAD_PLUGINS", "demo")
        forget_plugins()
        return site

    yield install
    forget_plugins()


@pytest.fixture
def examples(demo):
    """`examples(changes)`: those of the plugin with these changes."""

    def of(changes=None):
        demo(changes)
        found = manager.plugins().register()
        (info,) = found.named("demo")
        got = found.examples(info)
        assert info.error is None, info.error
        return got

    return of
