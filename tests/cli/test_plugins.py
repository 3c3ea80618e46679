"""`spectrakit plugins new` and `check`, and plugins that would rather be in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spectrakit.testing import plugin_checks
from spectrakit.testing.suite import Result
from tests.cli.test_commands import SPECTRAKIT

FILES = {
    "README.md",
    "pyproject.toml",
    "spectrakit_my_layer/__init__.py",
    "spectrakit_my_layer/architecture.py",
    "spectrakit_my_layer/examples.py",
    "spectrakit_my_layer/mixer.py",
    "spectrakit_my_layer/model.py",
    "spectrakit_my_layer/module.py",
    "spectrakit_my_layer/slow/__init__.py",
    "spectrakit_my_layer/slow/analysis.py",
    "spectrakit_my_layer/slow/chart.py",
    "spectrakit_my_layer/slow/compared.py",
    "spectrakit_my_layer/slow/options.py",
    "spectrakit_my_layer/slow/tables.py",
    "spectrakit_my_layer/slow/view.py",
    "tests/test_conformance.py",
}


def test_new_writes_what_it_lists(command, tmp_path):
    done = command("plugins", "new", "my-layer", "--json")
    listed = {Path(file).relative_to("spectrakit-my-layer").as_posix()
              for file in json.loads(done.out)["files"]}  # fmt: skip
    folder = tmp_path / "spectrakit-my-layer"
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert listed == written == FILES
    for file in FILES:
        text = (folder / file).read_text()
        assert "$" not in text
        if file.endswith(".py"):
            compile(text, file, "exec")
    assert "class MyLayer:" in (folder / "spectrakit_my_layer" / "mixer.py").read_text()


def test_new_says_what_comes_next(command):
    done = command("plugins", "new", "demo", "--out", "plugins")
    assert done.out.splitlines()[0] == "plugins/spectrakit-demo/README.md"
    assert done.err.splitlines() == [
        "try: pip install -e plugins/spectrakit-demo",
        "     spectrakit plugins check spectrakit-demo",
    ]


@pytest.mark.parametrize(
    "name", ["Demo", "my_layer", "2nd", "-x", "a--b", "é", "", "x" * 41, "a/b"]
)
def test_new_refuses_what_is_no_name(command, tmp_path, name):
    done = command("plugins", "new", "--", name)
    assert done.code == 2
    assert "is not a name for a plugin" in done.err
    assert list(tmp_path.iterdir()) == []


def test_new_writes_over_nothing(command, tmp_path):
    (tmp_path / "spectrakit-demo").mkdir()
    done = command("plugins", "new", "demo")
    assert done.code == 1
    assert "spectrakit-demo is there already" in done.err
    (tmp_path / "file").touch()
    assert "cannot make the folder" in command("plugins", "new", "demo", "--out", "file").err


# ---- check ----------------------------------------------------------------------------------

PASSED = Result("layer", "is_deterministic", "passed")
EXPECTED = Result("layer", "padding_is_masked", "expected failure", "there is none")
FAILED = Result("model", "claims_only_its_own", "failed", "it claims tiny-mamba")


@pytest.mark.parametrize(("results", "code"), [([PASSED, EXPECTED], 0), ([PASSED, FAILED], 1)])
def test_check_says_how_each_ended(command, monkeypatch, results, code):
    def check_plugin(name):
        sys.stdout.write("a plugin's own words\n")
        yield from results

    monkeypatch.setattr(plugin_checks, "check_plugin", check_plugin)
    done = command("plugins", "check", "demo", "--json")
    assert done.code == code
    document = json.loads(done.out)
    assert (document["plugin"], document["ok"]) == ("demo", code == 0)
    assert [row["ok"] for row in document["results"]] == [True, code == 0]
    assert done.err == "a plugin's own words\n"
    done = command("plugins", "check", "demo")
    assert done.code == code
    for result in results:
        (line,) = [line for line in done.out.splitlines() if result.check in line]
        assert result.outcome in line
        assert result.reason in line
    assert done.err.splitlines()[-1] == ("2 checks, ok" if code == 0 else "2 checks, 1 failed")


def test_check_needs_a_plugin(command):
    done = command("plugins", "check", "nothing")
    assert done.code == 2
    assert "unknown plugin 'nothing'" in done.err
    assert "checked by its tests" in command("plugins", "check", "spectrakit").err


# ---- hostile plugins, installed for real ----------------------------------------------------

WORST = "\n".join(
    f"@hookimpl\ndef {hook}({argument}): print('{hook}'); raise SystemExit(7)"
    for hook, argument in {
        "register_architectures": "register",
        "register_mixers": "register",
        "register_analyses": "register",
        "register_examples": "register",
        "register_commands": "app",
    }.items()
)
CLAIMS = """
class Hostile:
    name = "hostile"
    def layers(self, checkpoint): raise RuntimeError("never asked")
    load = layers
    def claims(self, checkpoint):
        print("mine, all mine")
        {deed}

@hookimpl
def register_architectures(register): register(Hostile())
"""
TAKES = """
class Hostile:
    name = "transformers-mamba"
    claims = layers = load = print

@hookimpl
def register_architectures(register): register(Hostile())
"""
HOSTILE = {
    "raises at import": "print('hello'); raise RuntimeError('no')",
    "exits at import": "print('hello'); raise SystemExit(0)",
    "exits in every hook": WORST,
    "raises when asked": CLAIMS.format(deed="raise RuntimeError('no')"),
    "exits when asked": CLAIMS.format(deed="raise SystemExit(0)"),
    "takes a name": TAKES,
    "takes a command": "@hookimpl\ndef register_commands(app): app.command('analyze')(print)",
    "replaces stdout": "import sys, io; sys.stdout = io.StringIO()",
}


def installed(site, code, version="1.0"):
    metadata = site / f"hostile-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Name: hostile\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text("[spectrakit]\nhostile = hostile\n")
    (site / "hostile.py").write_text(f"from spectrakit import hookimpl\n{code}\n")


@pytest.fixture
def in_process(tmp_path, monkeypatch, command):
    """The command line as it is where `code` is installed."""
    from spectrakit import plugins

    def forget():
        plugins.installed_points.cache_clear()
        plugins.plugins.cache_clear()
        sys.modules.pop("hostile", None)

    def install(code):
        installed(tmp_path / "site", code)
        monkeypatch.syspath_prepend(tmp_path / "site")
        monkeypatch.setenv("SPECTRAKIT_LOAD_PLUGINS", "hostile")
        forget()

    yield install
    forget()


@pytest.mark.parametrize("deed", HOSTILE)
def test_analyze_does_not_notice(deed, in_process, command, tmp_path):
    in_process(HOSTILE[deed])
    done = command("analyze", "tiny-mamba", "--json", "--no-figures", "--out", "run")
    assert done.code == 0, done.err
    assert json.loads(done.out)["model_id"] == "tiny-mamba"
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (manifest["architecture"], manifest["plugin"]) == ("transformers-mamba", "spectrakit")


def test_two_versions_are_one_plugin(tmp_path):
    """As an installation that failed half way leaves them; and nothing of it stays behind."""
    site = tmp_path / "site"
    installed(site, "VERSION = 1", "1.0")
    installed(site, "VERSION = 2", "2.0")
    listed = run("plugins", "list", "--json", site=site)
    (hostile,) = [plugin for plugin in json.loads(listed)["plugins"] if plugin["name"] == "hostile"]
    assert hostile["error"] is None
    assert "hostile" not in run("plugins", "list", "--json", site=tmp_path)


def run(*words, site):
    import os

    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("SPECTRAKIT_LOAD_PLUGINS", None)
    return subprocess.run(
        [*SPECTRAKIT, *words], capture_output=True, text=True, env=environment, check=True
    ).stdout
