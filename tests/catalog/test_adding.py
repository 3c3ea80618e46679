"""`add`: everything that an entry says comes from the Hub, and what cannot be read is refused."""

from __future__ import annotations

import json

import pytest
import torch

from spectrakit import catalog
from spectrakit.catalog.files import read_folder
from spectrakit.catalog.records import read_records
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import NetworkError, UnsupportedError, UsageError
from spectrakit.model import open_checkpoint as open_model
from spectrakit.verification import Told, add, verify
from tests.catalog.conftest import files, original
from tests.support import state_dicts

NOTHING = Told()


def test_an_entry_says_what_the_hub_and_the_headers_say(hub, own, access):
    folder = own()
    added = add("someone/tiny", access, into=folder, told=NOTHING)
    entry = catalog.find("tiny")
    assert entry == added.entry == catalog.entries()[-1]
    assert added.path == folder / "models" / "mamba.toml"
    assert (entry.family, entry.repo, entry.format) == ("mamba", "someone/tiny", "transformers")
    assert entry.description == "3 layers of mamba, 229K parameters"
    assert (entry.parameters, entry.weights_bytes) == (229440, 39168)
    assert (entry.license, entry.gated, entry.own) == ("mit", False, True)
    assert entry.page == f"{hub.url}/someone/tiny"
    assert entry.tokenizer is None
    assert not entry.smallest
    assert read_records(folder)["tiny"] == added.record
    with open_checkpoint("tiny", cache_dir=access.cache_dir) as checkpoint:
        assert checkpoint.model_id == "someone/tiny"


def test_what_the_user_says(hub, own, access):
    told = Told(name="mine", description="what I think of it", tokenizer="a/tokenizer")
    add("hf://someone/tiny", access, into=own(), told=told)
    entry = catalog.find("mine")
    assert (entry.description, entry.tokenizer) == ("what I think of it", "a/tokenizer")
    assert entry.repo == "someone/tiny"


def test_another_format_is_of_its_architecture(hub, own, access, tmp_path):
    hub.add_repo("someone/Tiny_Zip", original(tmp_path / "o"))
    add("someone/Tiny_Zip", access, into=own(), told=NOTHING)
    entry = catalog.find("tiny_zip")
    assert (entry.family, entry.format) == ("mamba-ssm", None)
    assert (entry.license, entry.gated) == (None, False)


def test_one_weight_file_of_several(hub, own, access, tmp_path):
    weights = original(tmp_path / "o")["pytorch_model.bin"]
    config = original(tmp_path / "o")["config.json"]
    hub.add_repo("a/many", {"config.json": config, "One.pth": weights, "old/Two.pth": weights})
    folder = own()
    added = add("a/many/old/Two.pth", access, into=folder, told=NOTHING)
    entry = catalog.find("two")
    assert entry == added.entry
    assert (entry.repo, entry.file) == ("a/many", "old/Two.pth")
    assert added.record.file == "old/Two.pth"
    assert read_records(folder)["two"] == added.record
    with open_checkpoint("two", cache_dir=access.cache_dir) as checkpoint:
        assert checkpoint.model_id == "a/many/old/Two.pth"
    with pytest.raises(UsageError, match="already, as two"):
        add("a/many", access, into=folder, told=NOTHING)


def test_what_the_files_do_not_say_is_kept(hub, own, access, tmp_path):
    tensors = state_dicts.layers(state_dicts.version_4)
    torch.save(tensors, tmp_path / "s4d.pt")
    hub.add_repo("someone/s4", {"s4d.pt": tmp_path / "s4d.pt"})
    with pytest.raises(UsageError, match="real_transform"):
        add("someone/s4/s4d.pt", access, into=own(), told=NOTHING)
    said = state_dicts.VERSION_4 | {"disc": "zoh", "l_max": 64}
    config = tuple(f"{key}={json.dumps(value)}" for key, value in said.items())
    add("someone/s4/s4d.pt", access, into=own(), told=Told(config=config))
    entry = catalog.find("s4d")
    assert (entry.family, entry.config) == ("state-spaces-s4", config)
    with open_model("s4d", cache_dir=access.cache_dir) as model:
        assert {key: model.checkpoint.given[key] for key in said} == said
        assert model.recurrence(0).eigenvalues().modulus.max() < 1
    (done,) = verify([entry], access, into=own())
    assert done.status == "ok"


def test_a_maintainer_adds_to_a_source_tree(hub, own, access, tmp_path):
    add("someone/tiny", access, into=tmp_path / "tree", told=NOTHING, own=False)
    (family,) = read_folder(tmp_path / "tree")
    assert [entry.name for entry in family.entries] == ["tiny"]
    assert not family.entries[0].own
    assert catalog.find("tiny") is None


@pytest.mark.parametrize(
    "repo", ["", "../x", "a/b/../../c.pth", "a//b", "someone/tiny@main", "a/b\x1b"]
)
def test_what_is_no_repository_is_told(hub, own, access, repo):
    with pytest.raises(UsageError, match="is not (the id of a Hub repository|a plain file name)"):
        add(repo, access, into=own(), told=NOTHING)
    assert hub.requests == 0


@pytest.mark.parametrize(
    ("repo", "told", "says"),
    [
        ("state-spaces/mamba-130m", NOTHING, "state-spaces/mamba-130m already, as mamba-130m"),
        ("someone/mamba-130m", NOTHING, "state-spaces/mamba-130m already, as mamba-130m"),
        ("someone/tiny", Told(name="tiny-mamba"), "a bundled model already, as tiny-mamba"),
        ("someone/tiny", Told(name="No Name"), "is not a name of lower-case letters"),
        ("someone/tiny", Told(name="../x"), "is not a name of lower-case letters"),
        ("someone/tiny", Told(tokenizer="../x"), "'../x' is not the id"),
    ],
)
def test_names_that_are_taken_or_none(hub, own, access, repo, told, says):
    with pytest.raises(UsageError) as caught:
        add(repo, access, into=own(), told=told)
    assert says in caught.value.message
    assert hub.requests == 0
    assert not list(own().rglob("*.toml"))


def test_what_nothing_reads_is_refused(hub, own, access):
    config = b'{"model_type": "no-such-model"}'
    hub.add_repo("someone/odd", files("tiny-llama") | {"config.json": config})
    with pytest.raises(UnsupportedError, match="no-such-model"):
        add("someone/odd", access, into=own(), told=NOTHING)
    assert not [path for path in own().rglob("*") if path.is_file()]


def test_what_is_not_there_or_gated_is_refused(hub, own, access):
    hub.add_repo("someone/gated", files("tiny-mamba"), gated=True)
    with pytest.raises(UsageError, match="there is no model someone/else"):
        add("someone/else", access, into=own(), told=NOTHING)
    with pytest.raises(NetworkError, match="gated repository"):
        add("someone/gated", access, into=own(), told=NOTHING)
    assert not [path for path in own().rglob("*") if path.is_file()]
