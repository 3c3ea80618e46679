"""The other commands, and what holds for all of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from spectrakit.builtin import ANALYSES
from spectrakit.cli.options import numbers
from spectrakit.errors import UsageError

SPECTRAKIT = [sys.executable, "-c", "from spectrakit.cli import main; main()"]


def test_inspect_shows_layers_and_what_they_cost(command):
    done = command("inspect", "tiny-mamba")
    assert done.code == 0
    assert "transformers-mamba (spectrakit)" in done.out
    assert "nominal, 13.1 kB" in done.out
    document = json.loads(command("inspect", "tiny-mamba2", "--json").out)
    assert document["weights_bytes"] == 3 * 2 * 12 * 4
    assert [layer["heads"] for layer in document["layers"]] == [12] * 3
    assert document["bad_tensors"] is None


def test_inspect_looks_at_values_when_asked(command, tmp_path):
    from tests.cli.test_analyze import damaged, nan

    good = command("inspect", "tiny-mamba", "--check-values")
    assert (good.code, good.err) == (0, "no tensor holds NaN or Inf\n")
    bad = command("inspect", damaged(tmp_path, nan), "--check-values", "--json")
    assert bad.code == 4
    assert "backbone.layers.2.mixer.A_log (1 NaN, 0 Inf)" in bad.err
    assert json.loads(bad.out)["bad_tensors"][0]["nans"] == 1


def test_extract_writes_what_it_lists(command, tmp_path):
    done = command("extract", "tiny-mamba2", "--layers", "0,2", "--json")
    document = json.loads(done.out)
    with safe_open(tmp_path / document["file"], "np") as file:
        metadata = file.metadata()
        assert {name: list(file.get_tensor(name).shape) for name in file.keys()} == (  # noqa: SIM118
            document["tensors"]
        )
    assert metadata["mode"] == "nominal"
    assert metadata["model_id"] == "tiny-mamba2"
    done = command("extract", "tiny-mamba", "--mode", "data", "--layers", "1", "--seq-len", "8")
    assert "layers.1.B_bar" in done.out
    assert (tmp_path / "tiny-mamba.data.safetensors").exists()


@pytest.mark.parametrize(
    ("layers", "code", "message"),
    [("x", 2, "'x' is not a list of layers"), ("5-3", 2, "'5-3' is not a range"), ("7", 2, "7")],
)
def test_extract_refuses_layers_that_are_not_there(command, tmp_path, layers, code, message):
    done = command("extract", "tiny-mamba", "--layers", layers)
    assert done.code == code
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


def test_numbers():
    assert numbers("0,5-7") == [0, 5, 6, 7]
    assert numbers(" 3 , 3,1") == [3, 1]
    for wrong in ("", "-", "1-", "-2", "1--2", "a", "0-999999999999"):
        with pytest.raises(UsageError):
            numbers(wrong)


def test_plugins_and_catalog_are_listed(command):
    plugins = json.loads(command("plugins", "list", "--json").out)["plugins"]
    assert plugins[0]["distribution"] == "spectrakit"
    assert "mixer mamba2" in command("plugins", "list").out.replace("\n", " ")
    models = {m["name"]: m for m in json.loads(command("catalog", "list", "--json").out)["models"]}
    assert models["mamba-130m"]["source"] == "state-spaces/mamba-130m"
    assert models["mamba-130m"]["tokenizer"] == "EleutherAI/gpt-neox-20b"
    assert "tiny-mamba2" in command("catalog", "list").out


def test_version_and_usage(command):
    import spectrakit

    assert command("--version").out == f"spectrakit {spectrakit.__version__}\n"
    assert command("analyze").code == 2
    assert command("analyze", "--help").code == 0
    assert command("--help").code == 0
    assert command("no-such-command").code == 2


@pytest.mark.parametrize("words", [["--help"], ["analyze", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys\n"
        f"sys.argv = ['spectrakit', *{words!r}]\n"
        "from spectrakit.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    heavy = {"torch", "transformers", "pyarrow", "altair", "numpy", "huggingface_hub", "pydantic",
             "rich", "tomllib"}  # fmt: skip
    assert not heavy & set(loaded)
    # Of an analysis, what declares it: its options, its tables, and what these are choices of.
    declared = re.compile(r"spectrakit\.analyses(\.kind|\.\w+(\.options|\.tables|\.estimators)?)?")
    analyses = [name for name in loaded if name.startswith("spectrakit.analyses")]
    assert not [name for name in analyses if not declared.fullmatch(name)]
    of_runs = {f"spectrakit.tables.{name}" for name in ("manifest", "reader", "writer")}
    assert not of_runs & set(loaded)


def test_inspect_loads_no_torch():
    code = (
        "import sys\n"
        "sys.argv = ['spectrakit', 'inspect', 'tiny-mamba']\n"
        "from spectrakit.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'transformers', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_weights_mode_loads_what_it_computes_and_no_more(tmp_path):
    """A `pandas` that is found, but not looked for; of the analyses, the one that runs."""
    (tmp_path / "pandas.py").write_text("__version__ = '0'\n")
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"run = {str(tmp_path / 'run')!r}\n"
        "sys.argv = ['spectrakit', 'analyze', 'tiny-mamba', '--no-figures', '--out', run]\n"
        "from spectrakit.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"pandas", "pyarrow.compute", "pyarrow.dataset", "scipy", "sklearn", "altair", "numba"}
    assert not loaded & {*heavy, "transformers", "huggingface_hub"}
    rooms = ("representations", "comparison", "prompt_sets", "testing")
    assert not [name for name in loaded for room in rooms if f"spectrakit.{room}" in name]
    computing = {each.KIND.start.place.partition(":")[0] for each in ANALYSES}
    assert loaded & computing == {"spectrakit.analyses.spectrum.analysis"}


def test_ctrl_c_is_130_and_leaves_nothing(tmp_path):
    """Interrupted at the first token batch of a long run."""
    code = (
        "import os, signal, sys\n"
        # A shell's background jobs inherit that the signal is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from spectrakit.architectures import transformers_model\n"
        "run = transformers_model.TransformersModel.run\n"
        "def interrupted(self, tokens, *watching, **options):\n"
        "    run(self, tokens, *watching, **options)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "transformers_model.TransformersModel.run = interrupted\n"
        "sys.argv = ['spectrakit', 'analyze', 'tiny-mamba2', '--mode', 'data', '--out', 'run']\n"
        "from spectrakit.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 130
    assert done.stdout == ""
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for a disk without space."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "sys.argv = ['spectrakit', 'analyze', 'tiny-mamba', '--out', 'run']\n"
        "from spectrakit.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("catalog", "list"), ("inspect", "tiny-mamba", "--json")])
def test_a_reader_that_leaves_is_no_error(words):
    """`spectrakit catalog list | true`"""
    command = subprocess.Popen(
        [*SPECTRAKIT, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait(60) == 0


def test_a_hostile_plugin_breaks_nothing(tmp_path):
    """Installed for real: an entry point that exits, one that raises, one that takes a name."""
    site = tmp_path / "site"
    for name, code in {
        "exits": "print('hello'); import sys; sys.exit(1)",
        "raises": "raise RuntimeError('no')",
        "takes": (
            "from spectrakit import hookimpl\nfrom spectrakit.mixers import Mamba\n"
            "@hookimpl\ndef register_mixers(register): register(Mamba)\n"
            "@hookimpl\ndef register_commands(app): raise SystemExit(5)\n"
        ),
    }.items():
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
        (site / f"{name}_plugin.py").write_text(code)
        (site / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (site / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(
            f"[spectrakit]\n{name} = {name}_plugin\n"
        )
    import os

    wanted = {"SPECTRAKIT_LOAD_PLUGINS": "exits,raises,takes"}
    environment = {**os.environ, "PYTHONPATH": str(site), **wanted}

    def run(*words):
        return subprocess.run(
            [*SPECTRAKIT, *words], capture_output=True, text=True, cwd=tmp_path,
            env=environment, timeout=120,
        )  # fmt: skip

    listed = {p["name"]: p for p in json.loads(run("plugins", "list", "--json").stdout)["plugins"]}
    assert "SystemExit" in listed["exits"]["error"]
    assert "RuntimeError: no" in listed["raises"]["error"]
    assert "SystemExit: 5" in listed["takes"]["error"]
    assert listed["builtin"]["error"] is None
    done = run("analyze", "tiny-mamba", "--json", "--no-figures", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model_id"] == "tiny-mamba"
    assert Path(tmp_path / "run" / "run.json").exists()
