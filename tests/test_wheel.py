"""The wheel, built from the tree and used where nothing else of spectrakit is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

pytestmark = pytest.mark.slow


def run(*command, cwd, **environment):
    """What the command prints to stdout; its stderr is shown where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheel of the tree, and that of the source distribution of the tree."""
    tree, sdist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("sdist")
    build = (sys.executable, "-m", "build", "--no-isolation")
    run(*build, "--wheel", "--outdir", tree, ROOT, cwd=tree)
    run(*build, "--outdir", sdist, ROOT, cwd=sdist)
    return {"tree": next(tree.glob("*.whl")), "sdist": next(sdist.glob("*.whl"))}


@pytest.fixture(scope="module")
def wheel(wheels):
    return wheels["tree"]


@pytest.fixture(scope="module")
def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(
            archive.read(f"spectrakit-{VERSION}.dist-info/METADATA").decode("utf-8")
        )


# ---- what is in it --------------------------------------------------------------------------


def test_holds_every_module_of_the_package(names):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "spectrakit").rglob("*.py")}
    templates = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "spectrakit").rglob("*.template")
    }
    assert modules
    assert templates
    assert modules | templates <= names
    assert "spectrakit/py.typed" in names


def test_holds_the_catalog_byte_for_byte(wheel, names):
    # train_tiny.py goes along: the recipe of the checkpoints travels with them.
    ours = [
        path
        for path in (ROOT / "catalog").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    with zipfile.ZipFile(wheel) as archive:
        for path in ours:
            inside = f"spectrakit/_catalog/{path.relative_to(ROOT / 'catalog').as_posix()}"
            assert archive.read(inside) == path.read_bytes(), inside


@pytest.mark.parametrize(
    "path",
    [
        "models/mamba.toml",
        "texts/tiny-shakespeare.txt.xz",
        *(
            f"checkpoints/{model}/{file}"
            for model in ("tiny-mamba", "tiny-mamba2")
            for file in ("config.json", "model.safetensors", "tokenizer.json")
        ),
    ],
)
def test_holds_what_the_bundled_models_need(names, path):
    assert f"spectrakit/_catalog/{path}" in names


def test_holds_nothing_else(names):
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"spectrakit", f"spectrakit-{VERSION}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_says_its_licence_and_holds_its_text(wheel, metadata):
    assert metadata["License-Expression"] == "Apache-2.0"
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"spectrakit-{VERSION}.dist-info/licenses/LICENSE")
    assert text == (ROOT / "LICENSE").read_bytes()


def test_asks_for_ranges_not_for_pins(metadata):
    requirements = metadata.get_all("Requires-Dist")
    assert any(requirement.startswith("torch>=") for requirement in requirements)
    specifiers = [requirement.partition(";")[0] for requirement in requirements]
    assert not [specifier for specifier in specifiers if "==" in specifier]


def test_the_source_distribution_builds_the_same_wheel(wheels):
    contents = [
        {
            name: archive.read(name)
            for name in archive.namelist()
            if not name.endswith("/RECORD")  # the digests of the others, in the order of the files
        }
        for archive in (zipfile.ZipFile(path) for path in wheels.values())
    ]
    assert contents[0] == contents[1]


# ---- whether it works, alone ----------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """An environment of which the wheel is the only spectrakit.

    The dependencies are those of this environment, by a .pth file: a folder that is added in that
    way has its own .pth files ignored, so the editable install of the tree is out of reach.
    """
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = {name: Path(path) for name, path in _paths(folder).items()}
    python = paths["scripts"] / ("python.exe" if os.name == "nt" else "python")
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    here = sysconfig.get_path("purelib")
    (paths["purelib"] / "dependencies.pth").write_text(f"{here}\n", encoding="utf-8")
    return paths


def _paths(folder):
    variables = {"base": str(folder), "platbase": str(folder)}
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else sysconfig.get_default_scheme()
    return {name: sysconfig.get_path(name, scheme, variables) for name in ("scripts", "purelib")}


@pytest.fixture
def spectrakit(alone, tmp_path):
    """Runs the installed command in an empty folder."""

    def command(*arguments):
        script = alone["scripts"] / "spectrakit"
        return run(script, *arguments, cwd=tmp_path, PYTHONPATH="", SPECTRAKIT_LOAD_PLUGINS="")

    return command


def test_the_tree_is_out_of_its_reach(alone, tmp_path):
    program = "import json, sys, spectrakit; print(json.dumps([spectrakit.__file__, sys.path]))"
    printed = run(alone["scripts"] / "python", "-c", program, cwd=tmp_path, PYTHONPATH="")
    file, path = json.loads(printed)
    assert Path(file).parent == alone["purelib"] / "spectrakit"
    assert ROOT not in [(tmp_path / entry).resolve() for entry in path]


def test_its_command_knows_its_version(spectrakit):
    assert spectrakit("--version") == f"spectrakit {VERSION}\n"


def test_its_catalog_lists_the_bundled_models(spectrakit):
    models = {
        entry["name"]: entry
        for entry in json.loads(spectrakit("catalog", "list", "--json"))["models"]
    }
    assert {"tiny-mamba", "tiny-mamba2", "mamba-130m"} <= models.keys()
    assert "tiny-mamba" in spectrakit("catalog", "list")


def test_it_writes_a_plugin(spectrakit, tmp_path):
    files = json.loads(spectrakit("plugins", "new", "demo", "--json"))["files"]
    assert "spectrakit-demo/spectrakit_demo/mixer.py" in files
    assert all((tmp_path / file).stat().st_size for file in files)


def test_it_analyses_a_bundled_model(spectrakit, tmp_path):
    document = json.loads(spectrakit("analyze", "tiny-mamba", "--json", "--no-figures"))
    assert document["model_id"] == "tiny-mamba"
    assert [layer["layer"] for layer in document["layers"]] == [0, 1, 2]
    assert document["figures"] == []
    tables = {name: tmp_path / file for name, file in document["tables"].items()}
    assert tables.keys() == {"layers", "spectrum", "spectrum_summary", "spectrum_histogram"}
    for file in tables.values():
        assert file.read_bytes()[:4] == b"PAR1"
