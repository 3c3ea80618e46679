"""Which files hold the weights, and shard indexes that must not be believed."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, UnsupportedError
from tests.support import shapes

SHAPE = shapes.SMALL_MAMBA


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    return tmp_path


def put(folder, *names):
    for name in names:
        if name.endswith(".safetensors"):
            save_file({f"of {name}": torch.zeros(2)}, folder / name)
        elif name.endswith((".bin", ".pt", ".pth")):
            torch.save({f"of {name}": torch.zeros(2)}, folder / name)
        else:
            (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["model.safetensors", "other.safetensors"], ["model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin"], ["pytorch_model.bin"]),
        (["adapter.safetensors", "pytorch_model.bin"], ["pytorch_model.bin"]),
        (["weights.safetensors", "weights.bin"], ["weights.safetensors"]),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
        (
            ["consolidated.00.safetensors", "consolidated.01.safetensors"],
            ["consolidated.00.safetensors", "consolidated.01.safetensors"],
        ),
        (["best.pt", "optimizer.pt", "rng_state.pth"], ["best.pt"]),
        (["last.pth"], ["last.pth"]),
    ],
)
def test_choice(folder, present, chosen):
    put(folder, *present)
    with open_checkpoint(str(folder)) as checkpoint:
        assert [file.path for file in checkpoint.files] == chosen
        assert set(checkpoint.tensors) == {f"of {name}" for name in chosen}


@pytest.mark.parametrize(
    ("present", "said"),
    [
        ([], "has no weights"),
        (["flax_model.msgpack"], "Flax only"),
        (["tf_model.h5", "flax_model.msgpack"], "Flax, TensorFlow only"),
        (["a.safetensors", "b.safetensors"], "2 weight files .* no index"),
        (["a.pt", "b.pt"], "2 weight files .* no index"),
    ],
)
def test_nothing_to_choose_is_unsupported(folder, present, said):
    put(folder, *present)
    with pytest.raises(UnsupportedError, match=said):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_shards_are_merged(tmp_path, form):
    tensors = shapes.mamba(SHAPE, original=False)
    config = shapes.mamba_config(SHAPE, original=False)
    folder = shapes.write(tmp_path / form, config, tensors, form=form, shards=3)
    with open_checkpoint(str(folder)) as checkpoint:
        assert len(checkpoint.files) == 3
        assert set(checkpoint.tensors) == set(tensors)
        read = checkpoint.read(tensors)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def index(folder, weight_map, name="model.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"weight_map": weight_map}))
    return str(folder)


ESCAPES = [
    "../secret.safetensors",
    "sub/../../secret.safetensors",
    "sub/model.safetensors",
    "/etc/secret.safetensors",
    "C:\\secret.safetensors",
    "C:secret.safetensors",
    "..\\secret.safetensors",
    "\\\\server\\share\\secret.safetensors",
    "//server/share/secret.safetensors",
    "..",
    ".",
    "",
    "secret\0.safetensors",
    " secret.safetensors",
]


@pytest.mark.parametrize("file", ESCAPES)
def test_an_index_cannot_point_outside_its_folder(folder, file):
    put(folder.parent, "secret.safetensors")
    with pytest.raises(MalformedError, match="points outside its folder"):
        open_checkpoint(index(folder, {"w": file}))


def test_an_index_cannot_name_another_format(folder):
    put(folder, "evil.bin")
    with pytest.raises(MalformedError, match=r"not a \.safetensors file"):
        open_checkpoint(index(folder, {"w": "evil.bin"}))


def test_a_missing_shard_is_named(folder):
    put(folder, "model-00001-of-00002.safetensors")
    placed = {
        "of model-00001-of-00002.safetensors": "model-00001-of-00002.safetensors",
        "w": "model-00002-of-00002.safetensors",
    }
    with pytest.raises(MalformedError, match=r"names the shard model-00002-of-00002\.safetensors"):
        open_checkpoint(index(folder, placed))


def test_a_tensor_that_its_shard_lacks_is_named(folder):
    put(folder, "model-1.safetensors")
    with pytest.raises(
        MalformedError, match=r"'w' in model-1\.safetensors, which does not have it"
    ):
        open_checkpoint(index(folder, {"w": "model-1.safetensors"}))


def test_the_index_decides_between_two_shards_with_one_name(folder):
    save_file({"w": torch.zeros(2), "a": torch.zeros(1)}, folder / "model-1.safetensors")
    save_file({"w": torch.ones(2)}, folder / "model-2.safetensors")
    placed = {"w": "model-2.safetensors", "a": "model-1.safetensors"}
    with open_checkpoint(index(folder, placed)) as checkpoint:
        assert checkpoint.read(["w"])["w"].tolist() == [1, 1]


def test_two_files_with_one_name_and_no_index_contradict(folder):
    for i in (0, 1):
        save_file({"w": torch.zeros(2)}, folder / f"consolidated.0{i}.safetensors")
    with pytest.raises(MalformedError, match=r"consolidated\.00.* and in consolidated\.01"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[]", "no JSON object"),
        ("{}", "no weight_map"),
        ('{"weight_map": {}}', "no weight_map"),
        ('{"weight_map": ["a"]}', "no weight_map"),
        ('{"weight_map": {"w": 3}}', "no file name"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": {"__float__": ["x"]}}', "no weight_map"),
    ],
)
def test_an_index_that_is_none(folder, text, said):
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(MalformedError, match=said):
        open_checkpoint(str(folder))


def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    put(outside, "model.safetensors")
    (folder / "model.safetensors").symlink_to(outside / "model.safetensors")
    with pytest.raises(MalformedError, match="link that leads out"):
        open_checkpoint(str(folder))


def test_a_link_within_the_folder_is_followed(folder):
    put(folder, "weights.safetensors")
    (folder / "model.safetensors").symlink_to("weights.safetensors")
    with open_checkpoint(str(folder)) as checkpoint:
        assert set(checkpoint.tensors) == {"of weights.safetensors"}


@pytest.mark.parametrize("shared", [False, True], ids=["blobs of the repo", "shared blobs"])
def test_a_snapshot_of_the_hub_cache_links_to_its_blobs(tmp_path, shared):
    repo = tmp_path / "models--org--name"
    blobs = tmp_path / "blobs" / "ab" if shared else repo / "blobs"
    snapshot = repo / "snapshots" / ("0123456789" * 4)
    for made in (blobs, snapshot):
        made.mkdir(parents=True)
    save_file({"w": torch.zeros(2)}, blobs / "abc")
    (snapshot / "model.safetensors").symlink_to(blobs / "abc")
    (snapshot / "config.json").write_text("{}")
    with open_checkpoint(str(snapshot)) as checkpoint:
        assert checkpoint.model_id == "org/name"
        assert checkpoint.revision == "0123456789" * 4
        assert list(checkpoint.tensors) == ["w"]
