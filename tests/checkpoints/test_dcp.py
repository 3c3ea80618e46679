"""Checkpoints of torch.distributed.checkpoint, written by torch, against the tensors they hold."""

from __future__ import annotations

import io
import pickle
import shutil

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import filesystem, metadata

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, UnsupportedError
from tests.support import shapes

SHAPE = shapes.SMALL_MAMBA


@pytest.fixture
def tensors():
    return shapes.mamba(SHAPE, original=False)


def read_all(folder):
    with open_checkpoint(str(folder)) as checkpoint:
        return checkpoint.read(checkpoint.tensors)


def same(read, expected):
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())
    assert all(read[name].dtype == tensor.dtype for name, tensor in expected.items())


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("keys", [("model",), (), ("app", "model")])
def test_what_torch_saves(tmp_path, tensors, keys):
    """Under the keys that people use, with an optimizer beside the model, which is none of it."""
    saved = dict(tensors)
    if keys:
        saved = {"model": saved, "optim": {"state": {"w": {"exp_avg": torch.ones(3)}}}}
    for key in keys[:-1]:
        saved = {key: saved}
    dcp.save(saved | {"step": 3}, checkpoint_id=str(tmp_path))
    same(read_all(tmp_path), tensors)


def write_chunks(folder, tensors, cuts, **place):
    """As two ranks write it: a file each, every tensor cut along the dimension of `cuts`."""
    files = {rank: io.BytesIO() for rank in range(2)}
    described, places, paths = {}, {}, {}
    for name, tensor in tensors.items():
        chunks, start = [], 0
        dim = cuts(tensor)
        for rank, part in enumerate([tensor] if dim is None else tensor.chunk(2, dim)):
            offsets = torch.Size(start if i == dim else 0 for i in range(tensor.dim()))
            chunks.append(metadata.ChunkStorageMetadata(offsets, part.size()))
            at = files[rank].tell()
            torch.save(part.clone(), files[rank])
            info = filesystem._StorageInfo(f"__{rank}_0.distcp", at, files[rank].tell() - at)
            for field, value in place.items():
                setattr(info, field, value)
            places[metadata.MetadataIndex(name, offsets, rank)] = info
            start += part.shape[dim] if dim is not None else 0
        properties = metadata.TensorProperties.create_from_tensor(tensor)
        described[name] = metadata.TensorStorageMetadata(properties, tensor.size(), chunks)
        paths[name] = ("model", name)
    for rank, file in files.items():
        (folder / f"__{rank}_0.distcp").write_bytes(file.getvalue())
    whole = metadata.Metadata(described, paths, places)
    (folder / ".metadata").write_bytes(pickle.dumps(whole))
    return whole


def longest(tensor):
    return max(range(tensor.dim()), key=lambda i: tensor.shape[i])


@pytest.mark.parametrize(
    "cuts",
    [lambda tensor: 0, longest, lambda tensor: tensor.dim() - 1, lambda tensor: None],
    ids=["rows", "longest", "last", "whole"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_of_several_ranks_are_joined(tmp_path, tensors, cuts, dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    write_chunks(tmp_path, tensors, cuts)
    same(read_all(tmp_path), tensors)


def test_only_what_is_asked_for_is_read(tmp_path, tensors):
    write_chunks(tmp_path, tensors, longest)
    names = [name for name in tensors if name.endswith("A_log")]
    values = sum(tensors[name].nbytes for name in names)
    with open_checkpoint(str(tmp_path)) as checkpoint:
        assert checkpoint.bytes_read == (tmp_path / ".metadata").stat().st_size
        before = checkpoint.bytes_read
        read = checkpoint.read(names)
        assert checkpoint.bytes_read - before == checkpoint.cost(names)
        assert values < checkpoint.cost(names) < values + 2 * 2048 * len(names)
    same(read, {name: tensors[name] for name in names})


def test_any_of_its_files_is_all_of_it(tmp_path, tensors):
    write_chunks(tmp_path, tensors, longest)
    for name in (".metadata", "__1_0.distcp"):
        same(read_all(tmp_path / name), tensors)


def test_of_the_hub(hub, tmp_path, tensors):
    write_chunks(tmp_path, tensors, longest)
    (tmp_path / "config.json").write_text("{}")
    hub.add_repo("me/sharded", {path.name: path for path in tmp_path.iterdir()})
    names = [name for name in tensors if name.endswith("A_log")]
    with open_checkpoint("me/sharded") as checkpoint:
        before = hub.bytes_sent
        same(checkpoint.read(names), {name: tensors[name] for name in names})
        assert hub.bytes_sent - before == checkpoint.cost(names)
    with open_checkpoint("me/sharded", full_download=True) as checkpoint:
        same(checkpoint.read(tensors), tensors)


def test_a_rank_is_missing(tmp_path, tensors):
    write_chunks(tmp_path, tensors, longest)
    (tmp_path / "__1_0.distcp").unlink()
    with pytest.raises(MalformedError, match=r"names __1_0\.distcp, which is not there"):
        open_checkpoint(str(tmp_path))


def test_the_metadata_is_missing(tmp_path, tensors):
    write_chunks(tmp_path, tensors, longest)
    (tmp_path / ".metadata").unlink()
    with pytest.raises(MalformedError, match=r"have no \.metadata"):
        open_checkpoint(str(tmp_path / "__0_0.distcp"))


def test_a_file_that_was_cut(tmp_path, tensors):
    write_chunks(tmp_path, tensors, longest)
    file = tmp_path / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(MalformedError, match=r"at byte \d+ of __0_0\.distcp, which has"):
        open_checkpoint(str(tmp_path))


def test_chunks_of_another_checkpoint(tmp_path, tensors):
    """The description is of one run, a file of another, of the same size."""
    write_chunks(tmp_path, tensors, longest)
    other = tmp_path / "other"
    other.mkdir()
    write_chunks(other, {n: t.view(torch.int32) for n, t in tensors.items()}, longest)
    shutil.copy(other / "__0_0.distcp", tmp_path / "__0_0.distcp")
    with pytest.raises(MalformedError):
        read_all(tmp_path)


@pytest.mark.parametrize(
    ("place", "error", "said"),
    [
        ({"relative_path": "../secret"}, MalformedError, "points outside its folder"),
        ({"relative_path": "/etc/passwd"}, MalformedError, "points outside its folder"),
        ({"relative_path": 3}, MalformedError, "lies in no file"),
        ({"offset": -1}, MalformedError, "no counts"),
        ({"length": 10**12}, MalformedError, "which has"),
        ({"transform_descriptors": ["zstd"]}, UnsupportedError, "stored compressed"),
    ],
)
def test_places_that_cannot_be(tmp_path, tensors, place, error, said):
    write_chunks(tmp_path, tensors, longest, **place)
    with pytest.raises(error, match=said):
        open_checkpoint(str(tmp_path))


def damage(whole, how):
    name, saved = next(iter(whole.state_dict_metadata.items()))
    if how == "uncovered":
        saved.chunks.pop()
    elif how == "twice":
        saved.chunks[1].offsets = torch.Size([9] * len(saved.size))
        whole.storage_data[metadata.MetadataIndex(name, saved.chunks[1].offsets)] = next(
            iter(whole.storage_data.values())
        )
    elif how == "nowhere":
        whole.storage_data.clear()
    elif how == "dimensions":
        saved.size = torch.Size([*saved.size, 1])
    elif how == "no-dtype":
        saved.properties.dtype = "float32"


@pytest.mark.parametrize("how", ["uncovered", "twice", "nowhere", "dimensions", "no-dtype"])
def test_metadata_that_contradicts_itself(tmp_path, tensors, how):
    whole = write_chunks(tmp_path, tensors, longest)
    damage(whole, how)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(whole))
    with pytest.raises(MalformedError, match="is damaged, or not of torch"):
        open_checkpoint(str(tmp_path))


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_metadata_that_was_cut(tmp_path, tensors, cut):
    write_chunks(tmp_path, tensors, longest)
    file = tmp_path / ".metadata"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(MalformedError, match="is damaged, or not of torch"):
        open_checkpoint(str(tmp_path))


class Runs:
    """Would run a command where it is unpickled."""

    def __reduce__(self):
        return (__import__("os").system, ("echo ran > /tmp/spectrakit-ran",))


def test_metadata_that_would_run_something(tmp_path, tensors):
    whole = write_chunks(tmp_path, tensors, longest)
    whole.planner_data = Runs()
    (tmp_path / ".metadata").write_bytes(pickle.dumps(whole))
    with pytest.raises(MalformedError, match="system"):
        open_checkpoint(str(tmp_path))
