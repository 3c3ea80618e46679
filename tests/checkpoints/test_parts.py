"""One model of several: by file, by subfolder, by its path behind a name, and without any."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch

import spectrakit as sk
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, NetworkError, UnsupportedError, UsageError
from tests.conftest import CHECKPOINTS
from tests.support import bare, shapes

TINY = CHECKPOINTS / "tiny-mamba"
NAME = "backbone.layers.0.mixer.A_log"


@pytest.fixture
def weights(tmp_path):
    """The bundled Mamba as anyone saves it, without its config."""
    with open_checkpoint(str(TINY)) as checkpoint:
        torch.save(checkpoint.read(checkpoint.tensors), tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def root(tmp_path, weights):
    """A folder that holds the model in a folder, which has no tokenizer, and in a file."""
    root = tmp_path / "out"
    shutil.copytree(TINY, root / "steps" / "checkpoint-500")
    (root / "steps" / "checkpoint-500" / "tokenizer.json").unlink(missing_ok=True)
    (root / "tokenizer.json").write_text('{"of": "the root"}')
    (root / "config.json").write_text('{"of": "the root"}')
    shutil.copy(weights, root / "ema.model")
    shutil.copy(weights, root / "raw.pth")
    return root


@pytest.fixture
def published(hub, root):
    """The same on a Hub."""
    paths = [path for path in root.rglob("*") if path.is_file()]
    return hub.add_repo("org/many", {path.relative_to(root).as_posix(): path for path in paths})


def sources(root):
    return {"local": str(root), "hub": "org/many"}


@pytest.mark.parametrize("where", ["local", "hub", "cache"])
class TestParts:
    @pytest.fixture
    def opened(self, where, root, published):
        def opened(**part):
            if where == "local":
                return open_checkpoint(str(root), **part)
            if where == "cache":
                open_checkpoint("org/many", full_download=True, **part).close()
            return open_checkpoint("org/many", offline=where == "cache", **part)

        return opened

    def test_a_subfolder_has_its_own_config_and_the_roots_tokenizer(self, opened, where, root):
        with opened(subfolder="steps/checkpoint-500") as found, open_checkpoint(str(TINY)) as tiny:
            assert found.config == tiny.config
            assert found.read([NAME])[NAME].equal(tiny.read([NAME])[NAME])
            name = "org/many" if where != "local" else "out"
            assert found.model_id == f"{name}/steps/checkpoint-500"
            if where != "cache":  # a tokenizer is downloaded when it is asked for
                tokenizer = json.loads(found.file_path("tokenizer.json").read_text())
                assert tokenizer == {"of": "the root"}

    @pytest.mark.parametrize("file", ["ema.model", "raw.pth"])
    def test_a_file_is_known_by_its_content(self, opened, file):
        with opened(file=file) as found, open_checkpoint(str(TINY)) as tiny:
            assert found.tensors.keys() == tiny.tensors.keys()
            assert found.config == {"of": "the root"}
            assert found.read([NAME])[NAME].equal(tiny.read([NAME])[NAME])

    def test_a_file_in_a_subfolder(self, opened):
        with opened(subfolder="steps", file="checkpoint-500/model.safetensors") as found:
            assert found.config["model_type"] == "mamba"  # of the folder that the file lies in
            assert found.part.path == "steps/checkpoint-500/model.safetensors"


@pytest.mark.parametrize("where", ["local", "hub"])
@pytest.mark.parametrize(
    ("part", "says", "hint"),
    [
        ({"file": "steps"}, "is a folder, not a file", "subfolder='steps'"),
        ({"subfolder": "raw.pth"}, "is a file, not a folder", "file='raw.pth'"),
        ({"file": "other.pth"}, r"has no file 'other.pth', but config.json, ema.model", None),
        ({"subfolder": "b"}, r"has no folder 'b', but steps/checkpoint-500", None),
        ({"file": "../x.pth"}, "no path inside the model's folder", None),
        ({"subfolder": "/etc"}, "no path inside the model's folder", None),
        ({"subfolder": ""}, "no path inside the model's folder", None),
    ],
)
def test_a_part_that_is_not_there_is_told(root, published, where, part, says, hint):
    with pytest.raises(UsageError, match=says) as caught:
        open_checkpoint(sources(root)[where], **part)
    assert caught.value.hint == hint


def test_a_file_has_no_parts(root):
    with pytest.raises(UsageError, match=r"is a file, which has no x\.pth in it"):
        open_checkpoint(str(root / "raw.pth"), file="x.pth")


@pytest.mark.parametrize("where", ["local", "hub"])
def test_a_run_records_them_and_repeats_them(root, published, where, tmp_path):
    part = {"subfolder": "steps/checkpoint-500"}
    run = sk.analyze(sources(root)[where], out=tmp_path / "run", **part)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["spec"]["subfolder"], record["spec"]["file"]) == ("steps/checkpoint-500", None)
    spec = sk.read_spec(tmp_path / "run" / "run.json")
    again = sk.analyze(spec)
    assert again.manifest.revision == run.manifest.revision
    assert again.table("spectrum").equals(run.table("spectrum"))
    found = sk.compare(run, again, similarity=sk.TokenOptions(max_tokens=32, tokenizer="bytes"))
    assert found.table("similarity").num_rows


# --- a path behind the repository's name --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("org/many/raw.pth", "raw.pth"),
        ("hf://org/many/ema.model", "ema.model"),
        ("hf://org/many/steps/checkpoint-500", "steps/checkpoint-500"),
        ("org/many/steps/checkpoint-500/model.safetensors@main",
         "steps/checkpoint-500/model.safetensors"),
    ],
)  # fmt: skip
def test_an_address_is_a_file_or_a_folder(published, name, path):
    with open_checkpoint(name) as found:
        assert found.model_id == f"org/many/{path}"
        assert NAME in found.tensors


def test_a_folder_of_that_name_on_this_disk_is_meant(published, tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "many").mkdir(parents=True)
    with pytest.raises(UsageError, match="neither a file"):
        open_checkpoint("org/many/raw.pth")
    assert hub.requests == 0


def test_a_path_that_nothing_has_may_be_of_this_disk(hub):
    with pytest.raises(UsageError) as caught:
        open_checkpoint("runs/first/model.pth")
    assert "there is no runs/first/model.pth on this disk, and there is no model runs/first" in (
        caught.value.message
    )


# --- several models, and none named ---------------------------------------------------------------


RWKV = ("RWKV-4-Pile-169M-20220807-8023.pth", "RWKV-4-Pile-169M-20220725-5170.pth",
        "RWKV-4-Pile-169M-20220720-935.pth")  # fmt: skip


@pytest.mark.parametrize("where", ["local", "hub"])
def test_a_list_of_files_is_told_with_the_newest(hub, weights, tmp_path, where):
    folder = tmp_path / "pile"
    folder.mkdir()
    for name in RWKV:
        shutil.copy(weights, folder / name)
    hub.add_repo("org/pile", dict.fromkeys(RWKV, weights) | {"README.md": b"-"})
    name = {"hub": "org/pile", "local": str(folder)}[where]
    with pytest.raises(UnsupportedError, match="has 3 weight files") as caught:
        open_checkpoint(name)
    assert all(file in caught.value.message for file in RWKV)
    assert caught.value.hint == f"open_checkpoint({name!r}, file={RWKV[0]!r})"
    with open_checkpoint(name, file=RWKV[0]) as found:
        assert NAME in found.tensors


def test_files_and_folders_of_a_repository(hub, root, weights):
    small = {"medium/a.pth": weights, "medium/b.pth": weights}
    large = {f"large/{path.name}": path for path in TINY.iterdir()}
    hub.add_repo("org/sizes", small | large)
    with pytest.raises(UnsupportedError, match="has no weights") as caught:
        open_checkpoint("org/sizes")
    assert "but large, medium/a.pth, medium/b.pth" in caught.value.message
    with open_checkpoint("org/sizes", subfolder="large") as found:
        assert found.config["model_type"] == "mamba"


def test_beside_a_config_weights_elsewhere_are_named_and_not_taken(hub, weights):
    hub.add_repo("org/onnx", {"config.json": b"{}", "original/a.pth": weights})
    with pytest.raises(UnsupportedError, match=r"has no weights .*, but original/a\.pth") as caught:
        open_checkpoint("org/onnx")
    assert caught.value.hint == "open_checkpoint('org/onnx', file='original/a.pth')"


@pytest.mark.parametrize("path", ["only.pth", "deep/inside/only.pth"])
def test_the_only_file_of_a_repository_without_a_config_is_read(hub, tmp_path, path, caplog):
    caplog.set_level(logging.INFO)
    torch.save(
        {f"net.{name}": each for name, each in bare.mamba().tensors.items()}, tmp_path / "net"
    )
    hub.add_repo("org/one", {path: tmp_path / "net", "optimizer.pt": b"x", "README.md": b"-"})
    with sk.open_checkpoint("org/one") as found:
        assert found.checkpoint.model_id == "org/one"
        assert found.architecture.name == "bare-modules"
    assert ("the only model in org/one" in caplog.text) == ("/" in path)
    open_checkpoint("org/one", full_download=True).close()
    with open_checkpoint("org/one", offline=True) as found:
        assert found.tensors


# --- folders that lead elsewhere ------------------------------------------------------------------


def test_shards_in_a_subfolder_are_its_own(hub, tmp_path):
    shape = shapes.SMALL_MAMBA
    config = shapes.mamba_config(shape, original=False)
    tensors = shapes.mamba(shape, original=False)
    folder = shapes.write(tmp_path / "s", config, tensors, form="safetensors", shards=3)
    hub.add_repo("org/s", {f"half/{path.name}": path for path in folder.iterdir()})
    for options in ({}, {"full_download": True}, {"offline": True}):
        with open_checkpoint("org/s", subfolder="half", **options) as found:
            assert len(found.files) == 3
            read = found.read(found.tensors)
            assert all(read[name].equal(tensors[name]) for name in read)


def test_a_subfolders_index_never_leads_out_of_it(hub, root, weights):
    index = {"weight_map": {NAME: "../raw.pth"}}
    hub.add_repo(
        "org/out",
        {"in/pytorch_model.bin.index.json": json.dumps(index).encode(), "raw.pth": weights},
    )
    with pytest.raises(MalformedError, match="points outside its folder"):
        open_checkpoint("org/out", subfolder="in")


def test_offline_the_missing_part_is_named(hub):
    with pytest.raises(NetworkError, match=r"org/m/a/x\.pth is not in the cache") as caught:
        open_checkpoint("org/m", file="a/x.pth", offline=True)
    assert "spectrakit analyze org/m --file a/x.pth --full-download" in caught.value.hint
