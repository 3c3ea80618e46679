"""The checkpoints in a folder, and what is none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import UsageError
from spectrakit.spec import RunSpec
from spectrakit.zoo import folders
from spectrakit.zoo.selection import select
from tests.conftest import CHECKPOINTS

BASE = RunSpec(model="")
ZIP = b"PK\x03\x04"


def lay(folder, *paths):
    """Empty files; a .bin is a zip by its first bytes."""
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(ZIP if file.suffix == ".bin" else b"")


def found(folder):
    """What is found below `folder`, as text."""
    return [str(path.relative_to(folder)) for path in folders.checkpoints_in(folder)]


def names(*targets):
    return [entry.name for entry in select(targets, BASE)]


# --- what is a checkpoint -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a/config.json", "a/model.safetensors", "b/params.json", "b/x.pth"], ["a", "b"]),
        (["config.json", "pytorch_model.bin", "tokenizer.json", "original/x.pth"], ["."]),
        (["x.pth", "y.safetensors", "notes.txt", "s/z.pt"], ["x.pth", "y.safetensors", "s/z.pt"]),
        (["config.json", "epoch-10.pt", "epoch-9.pt"], ["epoch-9.pt", "epoch-10.pt"]),
        (["config.json", "model.gguf", "a/x.pt"], ["."]),
        (["a/model.safetensors.index.json", "a/model-00001-of-00002.safetensors"], ["a"]),
        (["a/config.json", "a/b/x.pt"], ["a/b/x.pt"]),
        (["a/optimizer.pt", "a/training_args.bin", "x.pt"], ["x.pt"]),
        ([".git/x.pt", ".cache/a/x.pt", "a/.b/x.pt", "c/.x/y.pt", "z.pt"], ["z.pt"]),
        (["r/run.json", "r/layers.parquet", "r/x.pt", "z.pt"], ["z.pt"]),
        (["d/batch.json", "d/runs/x/run.json", "d/x.pt", "z.pt"], ["z.pt"]),
        (["step-9/x.pt", "step-10/x.pt", "step-1/x.pt"], ["step-1/x.pt", "step-9/x.pt",
                                                         "step-10/x.pt"]),
    ],
)  # fmt: skip
def test_the_checkpoints_of_a_folder(tmp_path, files, expected):
    lay(tmp_path, *files)
    assert found(tmp_path) == expected


def test_the_checkpoints_of_a_training_run(tmp_path):
    """The last one lies above the others, as transformers' Trainer leaves them."""
    files = ["config.json", "model.safetensors"]
    steps = [f"checkpoint-{step}" for step in (500, 1000, 1500)]
    lay(tmp_path, *files, *(f"{step}/{file}" for step in steps for file in files))
    lay(tmp_path, *(f"{step}/{name}" for step in steps for name in ("optimizer.pt", "r_0.pth")))
    lay(tmp_path, "logs/x.pt", "checkpoint-500/global_step500/x.pt")
    assert found(tmp_path) == [".", *steps]


def test_a_bin_file_that_is_not_of_torch(tmp_path):
    (tmp_path / "train.bin").write_bytes(bytes(range(64)))
    (tmp_path / "old.bin").write_bytes(b"\x80\x02\x8a")
    lay(tmp_path, "new.bin")
    (tmp_path / "tensorflow.ckpt").write_bytes(b"\n\x1ftensorflow")
    (tmp_path / "lightning.ckpt").write_bytes(ZIP)
    assert found(tmp_path) == ["lightning.ckpt", "new.bin", "old.bin"]


def test_what_is_found_can_be_opened(here):
    """And is called by its path in the folder, wherever that is."""
    for name in ("tiny-mamba", "tiny-mamba2", "tiny-llama"):
        shutil.copytree(CHECKPOINTS / name, here / "zoo" / name)
    Path("zoo/alone").mkdir()
    shutil.copy(CHECKPOINTS / "tiny-mamba" / "model.safetensors", here / "zoo/alone/w.safetensors")
    entries = select(["zoo"], BASE)
    opened = []
    for entry in entries:
        with open_checkpoint(entry.spec.model) as checkpoint:
            opened.append(checkpoint.model_id)
    assert opened == ["w", "tiny-llama", "tiny-mamba", "tiny-mamba2"]
    assert [e.name for e in entries] == ["alone--w", "tiny-llama", "tiny-mamba", "tiny-mamba2"]
    assert [e.name for e in select([str(here / "zoo")], BASE)] == [e.name for e in entries]
    assert select([str(here / "zoo")], BASE) == entries


def test_what_runs_of_paths_are_called(here):
    lay(here, "a/final/config.json", "a/final/model.safetensors", "b/final/x.pt", "w.pt")
    assert names("a/final", "b/final", "w.pt") == ["a--final", "x", "w"]
    assert names("./a/final/", f"{here}/b/final/x.pt") == ["a--final", "final--x"]
    os.chdir("a/final")
    assert names(".") == ["final"]
    assert names("..") == ["final"]
    assert names("../../w.pt") == ["w"]


def test_a_commit_in_the_hubs_cache(tmp_path):
    sha = "0123456789abcdef" * 2 + "01234567"
    folder = f"models--org--model/snapshots/{sha}"
    lay(tmp_path, f"{folder}/config.json", f"{folder}/model.safetensors", "blobs/x.tmp")
    assert names(str(tmp_path)) == [f"org--model@{sha[:12]}"]


# --- links, and what cannot be looked at --------------------------------------------------------


def test_links_are_followed_once(tmp_path):
    lay(tmp_path, "zoo/z/x.pt", "elsewhere/y.pt", "zoo/plain.pt", "beside/y.pt")
    zoo = tmp_path / "zoo"
    (zoo / "a").symlink_to("z")  # sorts before what it leads to
    (zoo / "z" / "loop").symlink_to("..")
    (zoo / "self").symlink_to("self")
    (zoo / "up").symlink_to("..")
    (zoo / "out").symlink_to(tmp_path / "elsewhere")
    (zoo / "gone").symlink_to("nowhere")
    (zoo / "link.pt").symlink_to("plain.pt")
    (zoo / "gone.pt").symlink_to("nowhere.pt")
    assert found(zoo) == ["link.pt", "plain.pt", "z/x.pt", "out/y.pt"]


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch, notes):
    lay(tmp_path, "good/x.pt", "shut/y.pt")
    listing = os.scandir

    def scandir(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert found(tmp_path) == ["good/x.pt"]
    assert "shut (cannot be listed)" in notes()
    with pytest.raises(UsageError, match="cannot list .*shut: Permission denied"):
        select([str(tmp_path / "shut")], BASE)


def test_folders_in_folders_without_end(tmp_path, notes):
    deep = "/".join("d" * (folders.MOST_DEPTH + 1))
    lay(tmp_path, f"{deep}/x.pt", f"{deep[2:]}/y.pt")
    assert found(tmp_path) == [f"{deep[2:]}/y.pt"]
    assert f"more than {folders.MOST_DEPTH} folders deep" in notes()


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MOST_SEEN", 10)
    lay(tmp_path, *(f"{n}.pt" for n in range(11)))
    with pytest.raises(UsageError, match="more than 10 files and folders") as caught:
        found(tmp_path)
    assert "list" in caught.value.hint


def test_names_that_no_text_can_hold(tmp_path):
    """Bytes that are not UTF-8, and what a terminal would obey."""
    (tmp_path / os.fsdecode(b"\xff\xfe")).mkdir()
    lay(tmp_path / os.fsdecode(b"\xff\xfe"), "x.pt")
    lay(tmp_path, "\x1b[31mred/x.pt", "[bold]b/x.pt", "a=1/x.pt", "CON/x.pt", "_h/x.pt")
    assert sorted(names(str(tmp_path))) == sorted([
        "udcff_udcfe--x", "x1b_31mred--x", "bold_b--x", "a_1--x", "CON--x", "h--x",
    ])  # fmt: skip


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "model.bin")
    lay(tmp_path, "x.pt")
    assert found(tmp_path) == ["x.pt"]


# --- nothing ------------------------------------------------------------------------------------


def test_a_config_without_weights(tmp_path, notes):
    """Left out of a folder with a note; a model that fails where it is named itself."""
    lay(tmp_path, "a/config.json", "b/config.json", "x.pt")
    assert found(tmp_path) == ["x.pt"]
    assert "a and 1 more (has a config, and no weights that are read here)" in notes()
    assert names(str(tmp_path / "a")) == [f"{tmp_path.name}--a"]


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        ([], "there is no checkpoint in", "config.json"),
        (["notes.txt", "data/train.csv"], "there is no checkpoint in", "config.json"),
        (["run.json", "layers.parquet"], "is a run, not a checkpoint", "run.json"),
        (["batch.json", "runs/a/run.json"], "is the folder of a batch", "spectrakit batch status"),
        (["a/run.json", "a/layers.parquet"], "has runs in it, and no checkpoints", None),
    ],
)
def test_a_folder_without_checkpoints(tmp_path, files, message, hint):
    lay(tmp_path, *files)
    with pytest.raises(UsageError, match=message) as caught:
        select([str(tmp_path)], BASE)
    assert hint is None or hint in caught.value.hint
