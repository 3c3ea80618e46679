"""Weight files are what their bytes say, whatever they are called."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import spectrakit as sk
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, UnsupportedError
from tests.checkpoints.archives import records, repacked, saved
from tests.support.legacy import legacy_tar

MODEL = {"w": torch.arange(6.0), "b": torch.ones(2)}
CHECKPOINTS = Path(__file__).parents[2] / "catalog" / "checkpoints"


def assert_read(path, file_format):
    with open_checkpoint(str(path)) as checkpoint:
        assert [file.format for file in checkpoint.files] == [file_format]
        found = checkpoint.read(checkpoint.tensors)
    assert all(torch.equal(found[name], MODEL[name]) for name in MODEL)


@pytest.mark.parametrize(
    "name", ["last.ckpt", "a.pth", "a.pt", "a.bin", "a.model", "weights", "a.tar", "a.safetensors"]
)
def test_a_torch_zip_under_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(saved(MODEL))
    assert_read(tmp_path / name, "torch-zip")


@pytest.mark.parametrize("name", ["a.ckpt", "a.bin", "weights", "a.safetensors"])
def test_safetensors_under_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(safetensors.torch.save(MODEL))
    assert_read(tmp_path / name, "safetensors")


def test_an_archive_packed_by_another_program(tmp_path):
    (tmp_path / "a.any").write_bytes(repacked(records(saved(MODEL))))
    assert_read(tmp_path / "a.any", "torch-zip")


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, w=np.ones(2))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"ggml" + bytes(100), b"some text\n", npz(), b"\x93NUMPY", b"\x89HDF\r\n\x1a\n"],
    ids=["empty", "ggml", "text", "npz", "npy", "hdf5"],
)
def test_what_is_neither_by_name_nor_by_content(tmp_path, content):
    (tmp_path / "a.any").write_bytes(content)
    with pytest.raises(UnsupportedError, match=r"a\.any is not a weight file that is read here"):
        open_checkpoint(str(tmp_path / "a.any"))


@pytest.mark.parametrize("name", ["old.ckpt", "old.model", "old"])
def test_old_formats_are_told_under_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(legacy_tar())
    with pytest.raises(MalformedError, match="legacy tar") as caught:
        open_checkpoint(str(tmp_path / name))
    assert "weights_only=False" in caught.value.hint
    (tmp_path / name).write_bytes(saved(MODEL, _use_new_zipfile_serialization=False))
    with pytest.raises(MalformedError, match=r"before PyTorch 1\.6") as caught:
        open_checkpoint(str(tmp_path / name))
    assert f"torch.load('{tmp_path / name}'" in caught.value.hint


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "arrays.npz").write_bytes(npz())
    (tmp_path / "optimizer.pt").write_bytes(saved({"state": {}}))
    return tmp_path


@pytest.mark.parametrize("name", ["last.ckpt", "best.model", "weights"])
def test_the_one_torch_zip_of_a_folder(folder, name):
    (folder / name).write_bytes(saved(MODEL))
    assert_read(folder, "torch-zip")


def test_pytorch_s_own_endings_come_first(folder):
    (folder / "model.pt").write_bytes(saved(MODEL))
    for name in ("last.ckpt", "best.model"):
        (folder / name).write_bytes(saved({"other": torch.ones(1)}))
    assert_read(folder, "torch-zip")


def test_two_that_may_be_meant_are_named(folder):
    for name in ("second.ckpt", "best.ckpt"):
        (folder / name).write_bytes(saved(MODEL))
    with pytest.raises(UnsupportedError, match=r"2 weight files \(best\.ckpt, second\.ckpt\)"):
        open_checkpoint(str(folder))


def test_links_out_of_the_folder_are_not_looked_into(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "weights"
    outside.write_bytes(saved(MODEL))
    (folder / "weights").symlink_to(outside)
    with pytest.raises(UnsupportedError, match="no weights|only"):
        open_checkpoint(str(folder))


def test_a_training_program_s_checkpoint_has_the_spectra_of_its_model(tmp_path):
    """A Mamba beside what a training program keeps, under a name of Lightning's."""
    import argparse

    original = CHECKPOINTS / "tiny-mamba"
    state = safetensors.torch.load_file(original / "model.safetensors")
    kept = {"state_dict": state, "hyper_parameters": argparse.Namespace(out=Path("x"), seen={1})}
    (tmp_path / "last.ckpt").write_bytes(saved(kept))
    (tmp_path / "config.json").write_bytes((original / "config.json").read_bytes())
    tables = [
        sk.analyze(path, mode="weights", out=tmp_path / out).table("spectrum")
        for out, path in (("theirs", original), ("ours", tmp_path))
    ]
    columns = ["layer", "re", "im", "multiplicity"]
    assert tables[0].select(columns).equals(tables[1].select(columns))
