"""From an empty folder: a new plugin is written, installed, checked, and reads its checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig

import pytest

from tests.cli.test_commands import SPECTRAKIT

PYTHON = [sys.executable]
PIP = [*PYTHON, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-index",
       "--no-deps", "--no-build-isolation"]  # fmt: skip


@pytest.mark.slow
def test_it_works_as_it_is(tmp_path):
    site = tmp_path / "site"
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "SPECTRAKIT_LOAD_PLUGINS": "demo",
        "OMP_NUM_THREADS": "1",
    }

    def run(*words):
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(*SPECTRAKIT, "plugins", "new", "demo")
    run(*PIP, "--target", site, "./spectrakit-demo")
    checked = json.loads(run(*SPECTRAKIT, "plugins", "check", "spectrakit-demo", "--json"))
    assert {result["outcome"] for result in checked["results"]} == {"passed"}
    names = [result["check"] for result in checked["results"]]
    assert names[:4] == ["loads", *["has_an_example"] * 3]
    assert {"recurrence_gives_the_output_in_float32", "padding_is_masked", "compares_runs"} < set(
        names
    )
    own = run(*PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "spectrakit-demo")
    assert f"{len(names) - 4} passed" in own

    run(*PYTHON, "-m", "spectrakit_demo.examples", "model")
    for mode, options in {
        "nominal": [],
        "data": ["--mode", "data", "--tokenizer", "bytes"],
    }.items():
        out = f"run-{mode}"
        words = ["analyze", "./model", "--out", out, "--no-figures", "--json", *options]
        document = json.loads(run(*SPECTRAKIT, *words))
        assert [layer["mode"] for layer in document["layers"]] == [mode] * 2
        assert {layer["kind"] for layer in document["layers"]} == {"demo"}
    words = ["analyze", "./model", "--analyses", "demo_slow", "--demo-slow-steps", "2"]
    assert "timescale of 2 steps or more" in run(*SPECTRAKIT, *words, "--out", "run-slow")

    assert "is_trained_as_it_is_read" in names
    words = ["train", "digits", "--set", "mixer.name=demo", "--set", "budget.steps=4"]
    run(*SPECTRAKIT, *words, "--set", "evaluation.every=4", "--out", "trained")
    document = json.loads(run(*SPECTRAKIT, "analyze", "trained", "--no-figures", "--json"))
    assert {layer["kind"] for layer in document["layers"]} == {"demo"}
    assert (tmp_path / "run-slow" / "demo_slow.svg").exists()


@pytest.mark.slow
def test_uninstalling_it_leaves_no_trace(tmp_path):
    """In an environment of its own, which also sees what this one has installed."""
    venv = tmp_path / "venv"
    subprocess.run([*PYTHON, "-m", "venv", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    ours = sysconfig.get_path("purelib")
    (site / "host.pth").write_text(f"import site; site.addsitedir({ours!r})")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("SPECTRAKIT_LOAD_PLUGINS", None)

    def run(*words, code=0):
        done = subprocess.run(
            [venv / "bin" / "python", "-m", *words], cwd=tmp_path, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def state():
        files = {str(path) for path in venv.rglob("*") if "__pycache__" not in path.parts}
        return files, json.loads(run("spectrakit", "plugins", "list", "--json"))

    run("spectrakit", "plugins", "new", "demo")
    before = state()
    run("pip", "install", *PIP[6:], "./spectrakit-demo")
    run("spectrakit_demo.examples", "model")
    assert "demo" in run("spectrakit", "inspect", "./model")
    assert state() != before
    run("pip", "uninstall", "--yes", "--quiet", "spectrakit-demo")
    assert state() == before
    assert "no architecture here reads model" in run("spectrakit", "inspect", "./model", code=3)


def test_a_plugin_that_does_not_load_is_a_failed_check(demo):
    from spectrakit.testing.plugin_checks import check_plugin

    demo({"__init__.py": ("SPEC_VERSION = 2", "raise RuntimeError('no')")})
    (result,) = check_plugin("demo")
    assert (result.check, result.outcome) == ("loads", "failed")
    assert result.reason == "RuntimeError: no"


def test_what_has_no_example_is_a_failed_check(demo):
    from spectrakit.testing.plugin_checks import check_plugin

    demo({"__init__.py": ("for example in EXAMPLES:", "for example in EXAMPLES[:0]:")})
    loads, *missing = check_plugin("demo")
    assert loads.outcome == "passed"
    assert [(result.subject, result.check, result.outcome) for result in missing] == [
        ("architecture demo", "has_an_example", "failed"),
        ("mixer demo", "has_an_example", "failed"),
        ("analysis demo_slow", "has_an_example", "failed"),
    ]
