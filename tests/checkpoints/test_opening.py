"""From a name to a checkpoint: paths, the catalog, what shadows what, and what is imported."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from spectrakit.checkpoints import Checkpoint, open_checkpoint
from spectrakit.errors import MalformedError, UnsupportedError, UsageError
from tests.support import shapes

SHAPE = shapes.SMALL_MAMBA


@pytest.fixture
def folder(tmp_path):
    config = shapes.mamba_config(SHAPE, original=False)
    tensors = shapes.mamba(SHAPE, original=False)
    return shapes.write(tmp_path / "my-model", config, tensors, form="safetensors")


def test_a_folder(folder):
    with open_checkpoint(str(folder)) as checkpoint:
        assert checkpoint.model_id == "my-model"
        assert checkpoint.source == str(folder)
        assert checkpoint.origin == "local"
        assert re.fullmatch(r"local-[0-9a-f]{12}", checkpoint.revision)
        assert checkpoint.config["model_type"] == "mamba"
        assert [(f.path, f.format) for f in checkpoint.files] == [
            ("model.safetensors", "safetensors")
        ]
        assert checkpoint.files[0].size == (folder / "model.safetensors").stat().st_size
        assert checkpoint.tokenizer is None
        assert checkpoint.localize() is checkpoint
        assert "my-model" in repr(checkpoint)


def test_a_relative_path_and_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in (".", "./", "../my-model"):
        with open_checkpoint(name) as checkpoint:
            assert checkpoint.model_id == "my-model"


def test_a_single_file_has_the_config_beside_it(folder):
    with open_checkpoint(str(folder / "model.safetensors")) as checkpoint:
        assert checkpoint.model_id == "model"
        assert checkpoint.config["model_type"] == "mamba"


def test_a_single_file_needs_no_config(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "weights.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"never looked at")
    with open_checkpoint(str(tmp_path / "weights.safetensors")) as checkpoint:
        assert checkpoint.config == {}
        assert list(checkpoint.tensors) == ["w"]


def test_a_single_file_may_be_a_link(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "linked.safetensors"
    link.symlink_to(folder / "model.safetensors")
    with open_checkpoint(str(link)) as checkpoint:
        assert checkpoint.tensors


def test_a_file_that_holds_no_weights(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnsupportedError, match=r"notes\.txt is not a weight file"):
        open_checkpoint(str(tmp_path / "notes.txt"))


def test_a_folder_without_a_config(folder):
    (folder / "config.json").unlink()
    with open_checkpoint(str(folder)) as checkpoint:
        assert checkpoint.config == {}
        assert checkpoint.tensors
    (folder / "params.json").write_text('{"dim": 64}')
    with open_checkpoint(str(folder)) as checkpoint:
        assert checkpoint.config == {"dim": 64}


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not JSON"), ("[1]", "no JSON object"), ("\xff", "not JSON")]
)
def test_a_config_that_is_none(folder, text, said):
    (folder / "config.json").write_bytes(text.encode("latin1"))
    with pytest.raises(MalformedError, match=said):
        open_checkpoint(str(folder))


def test_a_config_may_hold_infinity(folder):
    """Old configs have JSON's bare Infinity, new ones transformers' own way to write it."""
    text = '{"a": Infinity, "b": [0.0, {"__float__": "Infinity"}], "c": {"__float__": "other"}}'
    (folder / "config.json").write_text(text)
    with open_checkpoint(str(folder)) as checkpoint:
        assert checkpoint.config["a"] == float("inf")
        assert checkpoint.config["b"] == [0.0, float("inf")]
        assert checkpoint.config["c"] == {"__float__": "other"}


def test_side_files(folder):
    (folder / "tokenizer.json").write_text("{}")
    with open_checkpoint(str(folder)) as checkpoint:
        assert checkpoint.file_path("tokenizer.json") == folder.resolve() / "tokenizer.json"
        assert checkpoint.file_path("vocab.txt") is None
        for name in ("../my-model/config.json", "/etc/passwd", "C:\\x", "", ".."):
            with pytest.raises(UsageError, match="not a plain file name"):
                checkpoint.file_path(name)


def test_the_fingerprint_follows_the_content(folder, tmp_path):
    def revision(path):
        with open_checkpoint(str(path)) as checkpoint:
            return checkpoint.revision

    first = revision(folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert revision(copy) == first
    tensors = load_file(copy / "model.safetensors")
    tensors["backbone.layers.2.mixer.D"] += 1
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert revision(copy) != first
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"x": 1}))
    assert revision(folder) != first


@pytest.mark.parametrize("name", ["tiny-mamba", "tiny-mamba2"])
def test_a_catalog_name(name):
    with open_checkpoint(name) as checkpoint:
        assert checkpoint.model_id == name
        assert checkpoint.source == f"catalog {name}"
        assert checkpoint.origin == "catalog"
        assert checkpoint.file_path("tokenizer.json") is not None


def test_a_path_wins_over_the_catalog_and_the_hub_and_says_so(
    folder, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, logger="spectrakit")
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "tiny-mamba2")
    with open_checkpoint("tiny-mamba2") as checkpoint:
        assert checkpoint.origin == "local"
    assert "not the catalog entry of this name" in caplog.text
    (tmp_path / "org").mkdir()
    (tmp_path / "tiny-mamba2").rename(tmp_path / "org" / "name")
    with open_checkpoint("org/name") as checkpoint:
        assert checkpoint.origin == "local"
    assert "not the Hub repository of this name" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "./missing",
        "/missing/folder",
        "missing/folder/deep",
        "missing.safetensors",
        "org/missing.bin",
        "missing/",
        "",
        "a b",
        "org--name",
        "org/..",
        "hf://",
        "hf://../x",
        "x" * 5000,
        "nul\0l",
        "https://huggingface.co/org/name",
    ],
)
def test_a_name_that_is_nothing(name):
    with pytest.raises(UsageError, match="neither a file, a folder") as caught:
        open_checkpoint(name)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_revision_of_something_local(folder):
    with pytest.raises(UsageError, match="no revision 'main'"):
        open_checkpoint(str(folder), revision="main")
    with pytest.raises(UsageError, match="no revision 'v1'"):
        open_checkpoint("tiny-mamba2@v1")


def test_two_revisions():
    with pytest.raises(UsageError, match="asks for revision a"):
        open_checkpoint("org/name@a", revision="b")


def test_opening_imports_nothing_heavy(folder):
    code = f"""
import sys
from spectrakit.checkpoints import open_checkpoint
from spectrakit import catalog
catalog.entries()
with open_checkpoint({str(folder)!r}) as checkpoint:
    assert checkpoint.cost(checkpoint.tensors) > 0
heavy = {{"torch", "transformers", "pyarrow", "numpy", "huggingface_hub", "safetensors", "httpx2"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_nothing_is_left_open_when_opening_fails(tmp_path, folder):
    """A file handle left over would be a ResourceWarning, which fails the test."""
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(MalformedError):
        open_checkpoint(str(folder))


def test_the_public_names():
    assert Checkpoint.__module__ == "spectrakit.checkpoints.checkpoint"


@pytest.mark.parametrize("inside", [[], ["run.json", "spectrum.parquet"]])
def test_a_folder_without_a_model_leaves_its_name_to_the_catalog(
    inside, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-mamba").mkdir()
    for name in inside:
        (tmp_path / "tiny-mamba" / name).write_text("{}")
    with caplog.at_level(logging.INFO, logger="spectrakit"), open_checkpoint("tiny-mamba") as found:
        assert found.origin == "catalog"
    assert "using the catalog entry of this name" in caplog.text


def test_a_damaged_model_does_not_leave_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-mamba").mkdir()
    (tmp_path / "tiny-mamba" / "config.json").write_text("{}")
    with pytest.raises(UnsupportedError, match="has no weights"):
        open_checkpoint("tiny-mamba")
