"""One zoo of real runs, of several models, modes and gauges, under names that a batch may give."""

from __future__ import annotations

import shutil

import pytest

import spectrakit as sk

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
