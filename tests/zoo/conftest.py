"""What the tests of a zoo share: real runs under odd names, and children, some of which suffer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import spectrakit as sk
from spectrakit.zoo.children import Children
from tests.checkpoints.conftest import hub, waits  # noqa: F401  (fixtures)

from .hurting import install_hurting

ROOT = Path(__file__).parents[2]
#: Name of the run, model, and how it is analysed.
RUNS = {
    "tiny-mamba": ("tiny-mamba", {"mode": "weights", "analyses": ("spectrum", "memory")}),
    "tiny mamba, 100% [odd] #1 & ünï-模型": ("tiny-mamba", {"mode": "weights"}),
    "seed=1": ("tiny-mamba2", {"mode": "weights", "seed": 1}),
    "org--it's@0a1b2c3d": ("tiny-mamba2", {"mode": "data"}),
    "z": ("tiny-llama", {"mode": "data"}),
}
SOURCE = sk.TokenOptions(max_tokens=256, seq_len=64)


@pytest.fixture(scope="session")
def analysed(tmp_path_factory):
    """The folder with the runs; not to be written to."""
    zoo = tmp_path_factory.mktemp("zoo")
    for name, (model, how) in RUNS.items():
        more = {"source": SOURCE} if how["mode"] == "data" else {}
        sk.analyze(model, out=zoo / "runs" / name, **how, **more)
    return zoo


@pytest.fixture
def zoo(analysed, tmp_path):
    """A copy of it."""
    shutil.copytree(analysed, tmp_path / "zoo")
    return tmp_path / "zoo"


@pytest.fixture(scope="module")
def children():
    """Children of this environment, without plugins."""
    made = Children(1, ["torch", "spectrakit.pipeline", "spectrakit.model"])
    yield made
    made.close()


@pytest.fixture(scope="module")
def hurting_children(tmp_path_factory):
    """Children that load the plugin of `hurting`."""
    folder = install_hurting(tmp_path_factory.mktemp("hurting"))
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("SPECTRAKIT_LOAD_PLUGINS", "hurting")
        patch.setenv("HURTING_LEFT", str(folder / "left"))
        made = Children(1, ["torch", "spectrakit.pipeline", "spectrakit.model"])
        made.left = folder / "left"
        yield made
        made.close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder that is the working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def notes(caplog):
    """What is noted, as one text when it is asked for."""
    caplog.set_level("INFO", "spectrakit")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)
