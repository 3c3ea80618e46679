"""--file and --subfolder of the commands, and the lines that errors print."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest
import torch

from spectrakit.checkpoints import open_checkpoint
from tests.conftest import CHECKPOINTS
from tests.support.hub import HubServer

TINY = CHECKPOINTS / "tiny-mamba"


@pytest.fixture
def root(tmp_path):
    shutil.copytree(TINY, tmp_path / "out" / "checkpoint-500")
    with open_checkpoint(str(TINY)) as checkpoint:
        torch.save(checkpoint.read(checkpoint.tensors), tmp_path / "out" / "ema.model")
    return tmp_path / "out"


@pytest.fixture
def hub(root, monkeypatch, tmp_path):
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        server.add_repo(
            "org/list", {f"{n}-2024010{n}.pth": root / "ema.model" for n in range(1, 9)}
        )
        yield server


@pytest.mark.parametrize(
    "part", [("--subfolder", "checkpoint-500"), ("--file", "checkpoint-500/model.safetensors")]
)
@pytest.mark.parametrize("name", ["inspect", "analyze", "extract"])
def test_the_commands_take_a_part(root, command, name, part):
    out = {"inspect": (), "analyze": ("--no-figures",), "extract": ()}[name]
    done = command(name, "out", *part, *out, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)


def test_the_line_of_several_files_runs_as_printed(hub, command):
    failed = command("inspect", "org/list")
    assert failed.code == 3
    assert "has 8 weight files (1-20240101.pth, 2-20240102.pth" in failed.err
    line = failed.err.partition("try: ")[2].strip()
    assert line == "spectrakit inspect org/list --file 8-20240108.pth"
    done = command(*shlex.split(line)[1:])
    assert "org/list/8-20240108.pth" in done.out
    assert "spectrakit inspect" not in done.err


def test_a_part_is_in_the_line_that_analyze_prints(root, command):
    torch.save({"w": torch.ones(2)}, root / "other.pt")
    done = command("analyze", "out", "--file", "other.pt")
    assert "try: spectrakit inspect out --file other.pt" in done.err
    again = command("inspect", "out", "--file", "other.pt")
    assert "spectrakit inspect" not in again.err
    assert "tensors      1" in again.out


def test_a_spec_repeats_a_part(root, command):
    assert command("analyze", "out", "--subfolder", "checkpoint-500", "--out", "run").code == 0
    assert command("analyze", "--spec", "run/run.json", "--out", "again").code == 0
    folders = (root.parent / "run", root.parent / "again")
    first, again = (json.loads((folder / "run.json").read_text()) for folder in folders)
    assert first["spec"] == again["spec"]
    assert first["revision"] == again["revision"]


def test_a_list_names_parts(root, command):
    (root.parent / "zoo.toml").write_text(
        '[[models]]\nmodel = "out"\nsubfolder = "checkpoint-500"\nname = "a"\n'
        '[[models]]\nmodel = "out"\nfile = "checkpoint-500/model.safetensors"\nname = "b"\n'
    )
    done = command("batch", "zoo.toml", "--out", "runs", "--no-figures")
    assert done.code == 0, done.err
    records = [
        json.loads((root.parent / "runs" / "runs" / n / "run.json").read_text()) for n in "ab"
    ]
    assert [record["spec"]["subfolder"] for record in records] == ["checkpoint-500", None]
    assert [record["model_id"] for record in records] == [
        "out/checkpoint-500", "out/checkpoint-500/model.safetensors"
    ]  # fmt: skip
