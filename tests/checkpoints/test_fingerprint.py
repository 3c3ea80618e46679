"""What two equal revisions of local files promise: every value that a run reads is the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import spectrakit as sk
from spectrakit.checkpoints import fingerprint
from spectrakit.checkpoints.entries import ITEM_BYTES
from tests.conftest import CHECKPOINTS

BUNDLED = sorted(folder.name for folder in CHECKPOINTS.iterdir() if folder.is_dir())


@pytest.fixture
def large(monkeypatch):
    """Make every checkpoint one that is too large to be hashed whole, and samples few."""
    monkeypatch.setattr(fingerprint, "SAMPLES", 2)
    monkeypatch.setattr(fingerprint, "SAMPLE_BYTES", 8)
    monkeypatch.setattr("spectrakit.checkpoints.checkpoint.WHOLE_BYTES", 0)


@pytest.fixture(params=["safetensors", "shards", "torch-zip"])
def form(request):
    return request.param


def revision(folder: Path, source: str, **opening) -> str:
    with sk.open_checkpoint(str(folder), **opening) as model:
        return model.revision(source)


def write(folder: Path, form: str) -> None:
    """The weights of the safetensors file in `folder` in another form."""
    path = folder / "model.safetensors"
    if form == "safetensors":
        return
    tensors = load_file(path)
    path.unlink()
    if form == "torch-zip":
        torch.save(tensors, folder / "pytorch_model.bin")
        return
    from safetensors.torch import save_file

    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in shards.items():
        save_file({name: tensors[name] for name in own}, folder / file, {"format": "pt"})
    placed = {name: file for file, own in shards.items() for name in own}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed}))


def flip(folder: Path, tensor, element: int) -> None:
    """Another value at one place of a tensor, in the file, which is otherwise left as it is."""
    with (folder / tensor.file).open("r+b") as file:
        position = tensor.offset + element * ITEM_BYTES[tensor.dtype]
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def changes(folder: Path, source: str, names) -> dict[str, bool]:
    """Whether one value changed in the middle of each of these tensors changes the revision."""
    before = revision(folder, source)
    with sk.open_checkpoint(str(folder)) as model:
        entries = [model.checkpoint.tensors[name] for name in names(model)]
    found = {}
    for entry in entries:
        flip(folder, entry, entry.elements // 2)
        found[entry.name] = revision(folder, source) != before
        flip(folder, entry, entry.elements // 2)
    assert revision(folder, source) == before
    return found


def read_by_weights_mode(model):
    return [name for layer in model.layers for name in layer.weights_tensors]


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("source", ["weights", "data"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_any_value_that_is_read_is_of_the_revision(name, source, size, form, tmp_path, request):
    if size == "large":
        request.getfixturevalue("large")
    folder = tmp_path / name
    shutil.copytree(CHECKPOINTS / name, folder)
    write(folder, form)
    names = read_by_weights_mode if source == "weights" else lambda m: list(m.checkpoint.tensors)
    found = changes(folder, source, names)
    assert all(found.values())
    with sk.open_checkpoint(str(folder)) as model:
        spectra = any(layer.mixer.weights_mode for layer in model.layers)
    assert found or (source == "weights" and not spectra)


def test_small_checkpoints_have_one_revision_large_ones_say_that_it_is_of_a_part(
    tiny_folder, request
):
    assert revision(tiny_folder, "weights") == revision(tiny_folder, "data")
    request.getfixturevalue("large")
    assert revision(tiny_folder, "weights").startswith("local-part-")
    assert not revision(tiny_folder, "data").startswith("local-part-")


def test_weights_mode_reads_a_part_of_a_large_file(large, tiny_mamba_folder):
    with sk.open_checkpoint(str(tiny_mamba_folder)) as model:
        before = model.checkpoint.bytes_read
        model.revision("weights")
        own = sum(model.checkpoint.tensors[name].span for name in read_by_weights_mode(model))
        feedthrough = sum(
            model.checkpoint.tensors[layer.parameters["D"]].span for layer in model.layers
        )
        samples = 2 * 8
        assert model.checkpoint.bytes_read - before == own + feedthrough + samples


def test_a_value_that_weights_mode_does_not_read_may_differ(large, tiny_mamba_folder, tmp_path):
    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    found = changes(tmp_path / "m", "weights", lambda m: ["backbone.layers.0.mixer.in_proj.weight"])
    assert not any(found.values())


def test_what_extract_reads_is_of_the_revision_too(large, tiny_mamba_folder, tmp_path):
    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    found = changes(tmp_path / "m", "weights", lambda m: [at.parameters["D"] for at in m.layers])
    assert all(found.values())


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_config_and_tokenizer_are_of_the_revision(name, tmp_path, tiny_mamba_folder):
    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    before = revision(tmp_path / "m", "data")
    with (tmp_path / "m" / name).open("a") as file:
        file.write("\n")
    assert revision(tmp_path / "m", "data") != before


def test_an_index_that_places_tensors_elsewhere_is_another_checkpoint(tmp_path, tiny_mamba_folder):
    """Two shards that both have a tensor: the index says which one is meant."""
    from safetensors.torch import save_file

    folder = tmp_path / "m"
    shutil.copytree(tiny_mamba_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    twice = "backbone.layers.0.mixer.A_log"
    save_file(tensors, folder / "a.safetensors")
    save_file({twice: tensors[twice] + 1}, folder / "b.safetensors")
    index = folder / "model.safetensors.index.json"
    placed = dict.fromkeys(tensors, "a.safetensors")
    found = set()
    for file in ("a.safetensors", "b.safetensors"):
        index.write_text(json.dumps({"weight_map": placed | {twice: file}}))
        found.add(revision(folder, "weights"))
    assert len(found) == 2


def test_config_overrides_are_of_the_revision(tiny_mamba_folder):
    plain = revision(tiny_mamba_folder, "weights")
    same = revision(tiny_mamba_folder, "weights", config={"model_type": "mamba"})
    first = revision(tiny_mamba_folder, "weights", config={"time_step_floor": 0.5})
    second = revision(tiny_mamba_folder, "weights", config={"time_step_floor": 0.25})
    assert same == plain
    assert len({plain, first, second}) == 3
    assert first.startswith("config-")
    assert first.endswith(plain)


def test_runs_of_two_such_checkpoints_lie_in_two_folders(tmp_path, tiny_mamba_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from spectrakit.planning import resolve, run_folder
    from spectrakit.spec import RunSpec

    folders = []
    for step in (0, 1):
        folder = tmp_path / str(step) / "model"
        shutil.copytree(tiny_mamba_folder, folder)
        with sk.open_checkpoint(str(folder)) as model:
            entry = model.checkpoint.tensors["backbone.layers.1.mixer.dt_proj.bias"]
        if step:
            flip(folder, entry, 3)
        with sk.open_checkpoint(str(folder)) as model:
            folders.append(run_folder(model, resolve(model, RunSpec(model=str(folder))), {}))
    assert folders[0] != folders[1]
